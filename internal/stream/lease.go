package stream

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/subject"
)

// InstancesName is the bucket of the instances that are up, before its
// namespace.
const InstancesName = "AGNER_INSTANCES"

// ObserverKey is the key in that bucket whose holder reports who expires. It is
// of one token, instances' keys have two.
const ObserverKey = "observer"

// MarkerTTL is how long a bucket of leases remembers how a key went: by expiry
// or by a goodbye. Who looks later finds nothing at all.
const MarkerTTL = 10 * time.Minute

// KVStream is the name of a bucket's stream, by the layout of ADR-8.
func KVStream(bucket string) string { return "KV_" + bucket }

// KVSubject is the subject of a key, which may hold wildcards.
func KVSubject(bucket, key string) string { return "$KV." + bucket + "." + key }

// Leases is a bucket whose entries expire unless they are renewed. It is laid
// out as the clients' key-value buckets are (ADR-8), so that the nats tool shows
// it, and made as a stream, because only that can raise MaxConsumers: each
// watcher of another client is a consumer.
func Leases(ns subject.Namespace, bucket, description string) jetstream.StreamConfig {
	bucket = ns.Stream(bucket)
	return jetstream.StreamConfig{
		Name:              KVStream(bucket),
		Description:       description,
		Subjects:          []string{KVSubject(bucket, ">")},
		Retention:         jetstream.LimitsPolicy,
		Storage:           jetstream.FileStorage,
		Discard:           jetstream.DiscardNew,
		Duplicates:        DedupWindow,
		MaxMsgsPerSubject: 1,
		MaxConsumers:      maxConsumers,
		AllowDirect:       true,
		AllowRollup:       true,
		DenyDelete:        true,
		AllowMsgTTL:       true,
		// The marker is what tells an expiry from a goodbye.
		SubjectDeleteMarkerTTL: MarkerTTL,
		Metadata:               metadata(),
	}
}
