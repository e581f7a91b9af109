package service

import (
	"fmt"
	"time"
)

// CallOption changes one call, cast or gathering.
type CallOption func(*callOptions)

type callOptions struct {
	instance string
	all      bool
	same     *Affinity
	replies  int
	counted  bool
	retry    bool
	each     time.Duration
}

// ToInstance addresses exactly one instance, by the id that
// [Service.Instance], discovery, an [Affinity] or an [Error] gives. If it is
// gone the call fails with [CodeUnavailable] at once.
func ToInstance(id string) CallOption { return func(o *callOptions) { o.instance = id } }

// ToAll casts to each instance. It is not for calls, which have one reply: see
// [Gather].
func ToAll() CallOption { return func(o *callOptions) { o.all = true } }

// ToSame calls the instance that answered the last call with the same
// [Affinity], if there was one, and remembers in a the one that answers. An
// instance that is gone, or takes no more requests, has run nothing: the call
// goes to any other, which is remembered from then on. Who must not be moved
// uses [ToInstance] with [Affinity.Instance].
func ToSame(a *Affinity) CallOption { return func(o *callOptions) { o.same = a } }

// Replies ends a [Gather] once n replies have come. Without it a gathering goes
// on until its time is up, since the caller's server does not tell how many
// instances there are.
func Replies(n int) CallOption { return func(o *callOptions) { o.replies, o.counted = n, true } }

// Retry has a call tried again when an attempt got no answer within each, or
// ended with [CodeAborted], as when the instance stopped before it was done: an
// instance that dies leaves callers without a reply. A handler may so run twice
// for one call, also at the same time, though an attempt that is given up is
// cancelled. The last attempt has what is left of the time. The endpoint must be declared by [WithIdempotent]: an instance that
// does not declare it refuses all but the first attempt with
// [CodeFailedPrecondition], unrun.
//
// With each of 0 the time of the call is shared out evenly to all attempts. How
// many there are, and which part of all calls, is bounded by [ClientConfig].
func Retry(each time.Duration) CallOption {
	return func(o *callOptions) { o.retry, o.each = true, each }
}

// kind is what is made of a request.
type kind uint8

const (
	kindCall kind = iota
	kindCast
	kindGather
)

// address reads the target and the options.
func (r *Request) address(target string, k kind, opts []CallOption) (err error) {
	if r.Service, r.Endpoint, err = parseTarget(target); err != nil {
		return err
	}
	if k == kindGather {
		r.Instance = instanceAll
	}
	if len(opts) == 0 {
		return nil
	}
	o := options(opts)
	if err := o.check(k); err != nil {
		return err
	}
	if o.all {
		r.Instance = instanceAll
	}
	if o.instance != "" {
		if err := checkToken("instance", o.instance); err != nil {
			return fmt.Errorf("%w: %w", err, ErrTarget)
		}
		r.Instance = o.instance
	}
	r.same, r.retry, r.each, r.replies = o.same, o.retry, o.each, o.replies
	return nil
}

// check refuses what has no meaning together.
func (o callOptions) check(k kind) error {
	to := 0
	for _, named := range []bool{o.instance != "", o.all, o.same != nil} {
		if named {
			to++
		}
	}
	for _, f := range []struct {
		bad  bool
		text string
	}{
		{to > 1, "ToInstance, ToAll and ToSame exclude each other"},
		{o.all && k == kindCall, "ToAll is for casts, Gather calls all instances"},
		{k == kindGather && (o.instance != "" || o.same != nil), "Gather calls all instances, ToInstance and ToSame mean one"},
		{k == kindCast && o.same != nil, "ToSame is for calls, a cast has no answer"},
		{k != kindCall && o.retry, "Retry is for calls"},
		{k != kindGather && o.counted, "Replies is for Gather"},
		{o.counted && o.replies < 1, "Replies must be at least 1"},
		{o.each < 0, "Retry must not be negative"},
	} {
		if f.bad {
			return fmt.Errorf("%s: %w", f.text, ErrTarget)
		}
	}
	return nil
}

// options is apart so that calls without any do not pay for its escape.
func options(opts []CallOption) (o callOptions) {
	for _, opt := range opts {
		opt(&o)
	}
	return o
}
