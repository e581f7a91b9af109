package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"
)

// Row is one contender's result in one work. Ratios are medians over the rounds
// of this contender's rate divided by the base's of the same round, so that
// more is better; of P50 it is the time's, so that less is.
type Row struct {
	Work         string  `json:"work"`
	Contender    string  `json:"contender"`
	Rounds       int     `json:"rounds"`
	Ops          int     `json:"ops"`    // in each round
	Median       float64 `json:"median"` // operations a second
	RatioToRaw   float64 `json:"ratio_to_raw,omitempty"`
	RatioToSDK   float64 `json:"ratio_to_sdk,omitempty"`
	RatioToMicro float64 `json:"ratio_to_micro,omitempty"`
	Min          float64 `json:"min"` // of the ratio
	Max          float64 `json:"max"`
	NsPerOp      float64 `json:"ns"`
	CPUNs        float64 `json:"cpu_ns"`              // of the client's process, for each operation
	CPURatio     float64 `json:"cpu_ratio,omitempty"` // of the same, to the base; less is better
	P50Micros    float64 `json:"p50_us,omitempty"`
	P50Ratio     float64 `json:"p50_ratio,omitempty"`
	P99Micros    float64 `json:"p99_us,omitempty"`
	Allocs       float64 `json:"allocs"` // for each operation
	Bytes        float64 `json:"bytes"`
	// Void says that the control run is off by more than voidBeyond.
	Void bool `json:"void,omitempty"`
}

// ratio is that to the base, whichever it is.
func (r Row) ratio() float64 { return r.RatioToRaw + r.RatioToSDK + r.RatioToMicro }

// voidBeyond is how far the median of the control may be off 1.00.
const voidBeyond = 0.05

// rows sums up one work: samples of each contender, in the order of contenders.
func rows(w work, order []string, samples map[string][]sample) []Row {
	base := samples[w.base]
	var out []Row
	void := false
	for _, name := range order {
		own := samples[name]
		if len(own) == 0 {
			continue
		}
		r := summary(own)
		r.Work, r.Contender = w.name, name
		ratios := pairs(own, base, sample.rate)
		ratio := median(ratios)
		if !slices.ContainsFunc(base, func(s sample) bool { return s.cpu == 0 }) { // 0 is unknown, or below the clock's step
			r.CPURatio = median(pairs(own, base, func(s sample) float64 { return float64(s.cpu) }))
		}
		r.Min, r.Max = slices.Min(ratios), slices.Max(ratios)
		switch w.base {
		case baseSDK:
			r.RatioToSDK = ratio
		case baseMicro:
			r.RatioToMicro = ratio
		default:
			r.RatioToRaw = ratio
		}
		if own[0].p50 > 0 {
			r.P50Ratio = median(pairs(own, base, func(s sample) float64 { return float64(s.p50) }))
		}
		if name == w.base+again {
			void = math.Abs(ratio-1) > voidBeyond
		}
		out = append(out, r)
	}
	for i := range out {
		out[i].Void = void
	}
	return out
}

func summary(s []sample) Row {
	of := func(f func(sample) float64) float64 {
		v := make([]float64, len(s))
		for i := range s {
			v[i] = f(s[i])
		}
		return median(v)
	}
	micros := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	return Row{
		Rounds:    len(s),
		Ops:       s[0].ops,
		Median:    of(sample.rate),
		NsPerOp:   of(func(s sample) float64 { return s.perOp(float64(s.took)) }),
		CPUNs:     of(func(s sample) float64 { return s.perOp(float64(s.cpu)) }),
		P50Micros: of(func(s sample) float64 { return micros(s.p50) }),
		P99Micros: of(func(s sample) float64 { return micros(s.p99) }),
		Allocs:    of(func(s sample) float64 { return s.perOp(float64(s.allocs)) }),
		Bytes:     of(func(s sample) float64 { return s.perOp(float64(s.bytes)) }),
	}
}

// pairs divides round by round.
func pairs(own, base []sample, f func(sample) float64) []float64 {
	out := make([]float64, len(own))
	for i := range own {
		out[i] = f(own[i]) / f(base[i])
	}
	return out
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	if n%2 == 1 {
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}

func writeJSON(w io.Writer, rows []Row) error {
	enc := json.NewEncoder(w)
	for _, r := range rows {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// writeTable prints one work.
func writeTable(out io.Writer, w work, rows []Row) error {
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintf(out, "\n%s: %d rounds of %d, ratio to %s\n", w.name, rows[0].Rounds, rows[0].Ops, w.base)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "contender\tratio\t[min\tmax]\top/s\tns/op\tclient CPU ns\tratio\tp50 µs\tratio\tp99 µs\tallocs\tB\t")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t%.0f\t%.2f\t", r.Contender, r.ratio(), r.Min, r.Max, r.Median, r.NsPerOp, r.CPUNs, r.CPURatio)
		if r.P50Micros > 0 {
			fmt.Fprintf(t, "%.0f\t%.2f\t%.0f\t", r.P50Micros, r.P50Ratio, r.P99Micros)
		} else {
			fmt.Fprint(t, "\t\t\t")
		}
		fmt.Fprintf(t, "%.1f\t%.0f\t\n", r.Allocs, r.Bytes)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if rows[0].Void {
		fmt.Fprintf(out, "void: the same code run twice differs by more than %.2f; run it on a quieter machine or for more rounds\n", voidBeyond)
	}
	return nil
}
