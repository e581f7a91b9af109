// Package presence keeps leases in a key-value bucket on the server: entries
// that expire unless their holder renews them.
//
// It is the common ground of the instances of services (package service) and of
// the owners of partitions (package inbox).
//
// # What it guarantees
//
// A key has at most one holder at a time, by the server's compare-and-set:
// [Bucket.Claim] is refused while somebody holds it, and a holder whose entry
// has expired, or was taken, learns it from the next [Lease.Renew], however long
// it was paused. A crash shows as an expiry and a goodbye as a goodbye, for
// stream.MarkerTTL afterwards.
//
// What a holder does meanwhile with something else than this bucket is not
// fenced: between the expiry and the moment it learns of it there are two that
// believe. Work that must not be done twice carries a revision ([Lease.Revision])
// or an epoch to where it can be refused.
//
// # How it is read
//
// [Bucket.Watch] goes by what is stored, not by what it was told: the messages
// of holders, which it hears as they are sent, only say where to look. A watch of
// a client's key-value store is a consumer on the server, which was seen to lag
// 18 s behind after a restart. Clocks of two machines are never compared.
//
// # Who it is not for
//
// It is no leader election for work of milliseconds: who takes over after a crash
// does so after the TTL, which the server counts in whole seconds.
package presence
