package chaos_test

import (
	"encoding/json"
	"testing"

	"github.com/agner-go/agner/internal/chaos"
)

// flawless is the evidence of a run in which nothing went wrong: one key with
// direct messages and events.
func flawless() chaos.Evidence {
	const key = "account-00001"
	e := chaos.Evidence{
		Inputs: map[chaos.Origin]map[string][]int{chaos.Direct: {key: nil}, chaos.Events: {key: nil}},
		States: make(map[string]chaos.Account),
	}
	var a chaos.Account
	for n := 1; n <= 40; n++ {
		origin := chaos.Direct
		if n%3 == 0 {
			origin = chaos.Events
		}
		e.Inputs[origin][key] = append(e.Inputs[origin][key], n)
		if a.Apply(origin, key, n) {
			e.Outputs = append(e.Outputs, chaos.Output{Tallied: chaos.Tallied{Key: key, Account: clone(a)}})
		}
	}
	e.States[key] = a
	return e
}

func clone(a chaos.Account) (out chaos.Account) {
	text, err := json.Marshal(a)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		panic(err)
	}
	return out
}

func TestCheckerCountsWhatIsBroken(t *testing.T) {
	t.Parallel()
	const key = "account-00001"
	// refold makes the state anew from direct messages in another order or number.
	refold := func(e *chaos.Evidence, change func([]int) []int) {
		var a chaos.Account
		for _, n := range change(append([]int(nil), e.Inputs[chaos.Direct][key]...)) {
			a.Apply(chaos.Direct, key, n)
		}
		for _, n := range e.Inputs[chaos.Events][key] {
			a.Apply(chaos.Events, key, n)
		}
		e.States[key] = a
	}
	for _, c := range []struct {
		name  string
		spoil func(e *chaos.Evidence)
		want  chaos.Verdict
	}{
		{"nothing", func(*chaos.Evidence) {}, chaos.Verdict{}},
		{"a message was not applied", func(e *chaos.Evidence) {
			refold(e, func(n []int) []int { return append(n[:5], n[6:]...) })
		}, chaos.Verdict{Lost: 1}},
		{"a message was applied twice", func(e *chaos.Evidence) {
			refold(e, func(n []int) []int { return append(n[:5:5], n[4:]...) })
		}, chaos.Verdict{Doubled: 1}},
		{"two messages changed places", func(e *chaos.Evidence) {
			refold(e, func(n []int) []int { n[3], n[4] = n[4], n[3]; return n })
		}, chaos.Verdict{Reordered: 1}},
		{"another message was applied", func(e *chaos.Evidence) {
			refold(e, func(n []int) []int { n[3] = 999; return n })
		}, chaos.Verdict{Wrong: 1}},
		{"the state is gone", func(e *chaos.Evidence) { delete(e.States, key) }, chaos.Verdict{Lost: 40}},
		{"a state of nobody", func(e *chaos.Evidence) { e.States["account-00002"] = chaos.Account{} }, chaos.Verdict{Wrong: 1}},
		{"the state counts wrongly", func(e *chaos.Evidence) {
			a := e.States[key]
			a.Count++
			e.States[key] = a
		}, chaos.Verdict{Wrong: 1}},
		{"an output is missing", func(e *chaos.Evidence) {
			e.Outputs = append(e.Outputs[:2:2], e.Outputs[3:]...)
		}, chaos.Verdict{Lost: 1}},
		{"the last outputs are missing", func(e *chaos.Evidence) { e.Outputs = e.Outputs[:8] }, chaos.Verdict{Lost: 2}},
		{"an output stands twice", func(e *chaos.Evidence) {
			e.Outputs = append(e.Outputs, e.Outputs[2])
		}, chaos.Verdict{Doubled: 1}},
		{"two outputs changed places", func(e *chaos.Evidence) {
			e.Outputs[3], e.Outputs[4] = e.Outputs[4], e.Outputs[3]
		}, chaos.Verdict{Reordered: 1}},
		{"an output tells of a state that never was", func(e *chaos.Evidence) {
			c := e.Outputs[3].Account.Chains[chaos.Direct]
			c.Hash++
			e.Outputs[3].Account.Chains[chaos.Direct] = c
		}, chaos.Verdict{Wrong: 1}},
		{"an output of nobody", func(e *chaos.Evidence) {
			e.Outputs = append(e.Outputs, chaos.Output{Tallied: chaos.Tallied{Key: "account-00002"}})
		}, chaos.Verdict{Wrong: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := flawless()
			c.spoil(&e)
			got := chaos.Check(e)
			if got.Wrong != c.want.Wrong || got.Reordered != c.want.Reordered || got.Lost != c.want.Lost || got.Doubled != c.want.Doubled {
				t.Errorf("wrong %d, reordered %d, lost %d, doubled %d; want %d, %d, %d, %d\n%q",
					got.Wrong, got.Reordered, got.Lost, got.Doubled,
					c.want.Wrong, c.want.Reordered, c.want.Lost, c.want.Doubled, got.Examples)
			}
		})
	}
}
