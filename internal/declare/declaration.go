package declare

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

// format is the number of the JSON form; a reader refuses a later one.
const format = 1

// ErrDeclaration reports a declaration that cannot be read, or that names what
// Agner would not make.
var ErrDeclaration = errors.New("declaration is not valid")

// Declaration is what one program needs of the server. Its JSON is made for
// `natsctl apply -f`.
type Declaration struct {
	// Format is the number of the JSON form.
	Format int `json:"declaration"`
	// Service and Version say whose it is, for people.
	Service string `json:"service,omitempty"`
	Version string `json:"version,omitempty"`
	// Namespace in which all of it stands.
	Namespace string `json:"namespace,omitempty"`

	// Streams, each after those it sources; Buckets and Durables. They are in
	// the server's own terms; replicas of 0 are those that fit the cluster.
	Streams  []jetstream.StreamConfig   `json:"streams"`
	Buckets  []jetstream.KeyValueConfig `json:"buckets"`
	Durables []Durable                  `json:"durables"`
}

// Durable is one durable consumer. Where it starts matters only when it is
// made.
type Durable struct {
	Stream string                   `json:"stream"`
	Config jetstream.ConsumerConfig `json:"config"`
}

// New returns an empty declaration.
func New(ns subject.Namespace) Declaration {
	return Declaration{
		Format: format, Namespace: string(ns),
		Streams: []jetstream.StreamConfig{}, Buckets: []jetstream.KeyValueConfig{}, Durables: []Durable{},
	}
}

// Provides declares streams as p makes them.
func (d *Declaration) Provides(p *stream.Provisioner, shapes ...jetstream.StreamConfig) {
	for _, s := range shapes {
		s = p.Durability.Stream(s)
		s.Replicas = p.Replicas
		d.addStream(s)
	}
}

// ProvidesBucket declares a bucket as p makes it.
func (d *Declaration) ProvidesBucket(p *stream.Provisioner, shape jetstream.KeyValueConfig) {
	shape = p.Durability.Bucket(shape)
	shape.Replicas = p.Replicas
	d.addBucket(shape)
}

// Merge adds what another part of the same program, or another program, needs.
// Of a stream or bucket that both declare the stronger durability and the
// greater number of replicas is kept, and each takes what either does. Two
// durables of one name that are not equal are an error: two programs would fight
// for it.
func (d *Declaration) Merge(other Declaration) error {
	if d.Namespace != other.Namespace {
		return fmt.Errorf("namespaces %q and %q in one plan: apply them one after the other: %w", d.Namespace, other.Namespace, ErrDeclaration)
	}
	for _, s := range other.Streams {
		d.addStream(s)
	}
	for _, b := range other.Buckets {
		d.addBucket(b)
	}
	for _, c := range other.Durables {
		if err := d.addDurable(c); err != nil {
			return err
		}
	}
	return nil
}

func (d *Declaration) addStream(s jetstream.StreamConfig) {
	i := slices.IndexFunc(d.Streams, func(have jetstream.StreamConfig) bool { return have.Name == s.Name })
	if i < 0 {
		d.Streams = append(d.Streams, s)
		return
	}
	have := &d.Streams[i]
	if stream.GenerationOf(s.Metadata) > stream.GenerationOf(have.Metadata) {
		*have, s = s, *have
	}
	have.Replicas = max(have.Replicas, s.Replicas)
	have.Storage, have.Metadata = stronger(have.Storage, have.Metadata, s.Storage, s.Metadata)
	have.Subjects = union(have.Subjects, s.Subjects, func(a, b string) bool { return a == b })
	have.Sources = union(have.Sources, s.Sources, stream.SameSource)
}

func (d *Declaration) addBucket(b jetstream.KeyValueConfig) {
	i := slices.IndexFunc(d.Buckets, func(have jetstream.KeyValueConfig) bool { return have.Bucket == b.Bucket })
	if i < 0 {
		d.Buckets = append(d.Buckets, b)
		return
	}
	have := &d.Buckets[i]
	have.Replicas = max(have.Replicas, b.Replicas)
	have.Storage, have.Metadata = stronger(have.Storage, have.Metadata, b.Storage, b.Metadata)
}

func (d *Declaration) addDurable(c Durable) error {
	for _, have := range d.Durables {
		if have.Stream != c.Stream || have.Config.Durable != c.Config.Durable {
			continue
		}
		diff := append(stream.Taken(c.Config, have.Config), stream.DriftDurable(c.Config, have.Config)...)
		if len(diff) > 0 || stream.GenerationOf(c.Config.Metadata) != stream.GenerationOf(have.Config.Metadata) {
			return fmt.Errorf("durable %s is declared twice, differently: declare one version of a program: %w", c.Config.Durable, ErrDeclaration)
		}
		return nil
	}
	d.Durables = append(d.Durables, c)
	return nil
}

// stronger keeps the stronger of two declared durabilities, with its storage.
func stronger(storage jetstream.StorageType, meta map[string]string, otherStorage jetstream.StorageType, otherMeta map[string]string) (jetstream.StorageType, map[string]string) {
	mine, _ := stream.Declared(meta)
	others, _ := stream.Declared(otherMeta)
	if mine.Covers(others) {
		return storage, meta
	}
	meta = maps.Clone(meta)
	if meta == nil {
		meta = map[string]string{}
	}
	meta[stream.MetaDurability] = others.String()
	return otherStorage, meta
}

func union[T any](a, b []T, same func(a, b T) bool) []T {
	out := slices.Clone(a)
	for _, v := range b {
		if !slices.ContainsFunc(out, func(w T) bool { return same(v, w) }) {
			out = append(out, v)
		}
	}
	return out
}

// Read reads the JSON of one declaration or of several, one behind the other.
// A field that is not known is refused: it was written by a later version, and
// what it says must not be lost. The error wraps ErrDeclaration.
func Read(r io.Reader) ([]Declaration, error) {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	var all []Declaration
	for {
		var raw json.RawMessage
		err := dec.Decode(&raw)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: not JSON: %w", ErrDeclaration, err)
		}
		d, err := parse(raw)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrDeclaration)
	}
	return all, nil
}

func parse(raw []byte) (Declaration, error) {
	var head struct {
		Format *int `json:"declaration"`
	}
	if err := json.Unmarshal(raw, &head); err != nil || head.Format == nil {
		return Declaration{}, fmt.Errorf(`%w: it has no member "declaration": it must be what Declaration() of a service gives`, ErrDeclaration)
	}
	if *head.Format != format {
		return Declaration{}, fmt.Errorf("%w: it has the form %d, and this version reads %d", ErrDeclaration, *head.Format, format)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	var d Declaration
	if err := dec.Decode(&d); err != nil {
		return d, fmt.Errorf("%w: %w", ErrDeclaration, err)
	}
	return d, d.check()
}

// check refuses what Agner would not make: who may write the file is not always
// who may do all that the deployer may.
func (d *Declaration) check() error {
	ns := subject.Namespace(d.Namespace)
	if err := ns.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrDeclaration, err)
	}
	for _, s := range d.Streams {
		if err := within(ns, "stream", s.Name); err != nil {
			return err
		}
		if err := checkDurability(s.Name, s.Metadata); err != nil {
			return err
		}
		if s.Mirror != nil || s.RePublish != nil || s.Sealed || s.Replicas < 0 {
			return fmt.Errorf("%w: stream %s is no stream of Agner's", ErrDeclaration, s.Name)
		}
	}
	for _, b := range d.Buckets {
		if err := within(ns, "bucket", b.Bucket); err != nil {
			return err
		}
		if err := checkDurability(b.Bucket, b.Metadata); err != nil {
			return err
		}
	}
	for _, c := range d.Durables {
		if err := c.check(ns); err != nil {
			return err
		}
	}
	return nil
}

func (c *Durable) check(ns subject.Namespace) error {
	if err := within(ns, "stream", c.Stream); err != nil {
		return err
	}
	group, sub := c.Config.Metadata[stream.MetaGroup], c.Config.Metadata[stream.MetaSubscription]
	switch {
	case c.Config.Durable == "":
		return fmt.Errorf("%w: a durable of stream %s has no name", ErrDeclaration, c.Stream)
	case group == "" || sub == "" || c.Config.Durable != subject.Durable(group, sub):
		return fmt.Errorf("%w: durable %s of stream %s is not named after its group %q and subscription %q", ErrDeclaration, c.Config.Durable, c.Stream, group, sub)
	case c.Config.FilterSubject == "" || c.Config.DeliverSubject != "" || c.Config.AckPolicy != jetstream.AckExplicitPolicy:
		return fmt.Errorf("%w: durable %s of stream %s is no pull consumer with one filter and explicit acknowledgement", ErrDeclaration, c.Config.Durable, c.Stream)
	}
	return nil
}

func checkDurability(name string, metadata map[string]string) error {
	if _, ok := stream.Declared(metadata); !ok {
		return fmt.Errorf("%w: %s declares durability %q: %w", ErrDeclaration, name, metadata[stream.MetaDurability], stream.ErrDurability)
	}
	return nil
}

func within(ns subject.Namespace, what, name string) error {
	if name == "" || strings.ContainsAny(name, " .*>/\\\t\r\n") {
		return fmt.Errorf("%w: %q is no name of a %s", ErrDeclaration, name, what)
	}
	if !strings.HasPrefix(strings.TrimPrefix(name, stream.KVStream("")), ns.Stream("")) {
		return fmt.Errorf("%w: %s %s is not in namespace %s", ErrDeclaration, what, name, ns)
	}
	return nil
}
