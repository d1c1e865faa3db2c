package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// table gathers figures: under each name those of all runs, in their order.
type table struct {
	names   []string
	units   map[string]string
	figures map[string][]float64
}

func (t *table) add(name, unit string, v float64) {
	if t.figures == nil {
		t.figures, t.units = map[string][]float64{}, map[string]string{}
	}
	if _, known := t.figures[name]; !known {
		t.names = append(t.names, name)
		t.units[name] = unit
	}
	t.figures[name] = append(t.figures[name], v)
}

// beside parts the name of a figure that belongs to another from that one's.
const beside = " | "

// measured adds the rate of n, and the CPU for 100,000.
func (t *table) measured(name, unit string, n int, m measured) {
	t.add(name, unit, float64(n)/m.seconds)
	t.add(name+beside+"its CPU for 100,000", "s", m.own/float64(n)*100_000)
	t.add(name+beside+"everyone's CPU for 100,000", "s", m.all/float64(n)*100_000)
}

// target is what one figure should be: absolutely, or as a multiple of another
// one of the same run.
type target struct {
	figure, of string // of empty: absolute
	least      float64
	most       float64 // instead of least, if not 0
}

func (x target) met(v float64) bool {
	if x.most != 0 {
		return v <= x.most
	}
	return v >= x.least
}

func (x target) wish() string {
	if x.most != 0 {
		return "≤ " + number(x.most)
	}
	return "≥ " + number(x.least)
}

// print writes every figure, each followed by the targets that are set for it.
func (t *table) print(w io.Writer, targets []target) {
	out := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(out, "figure\tmedian\trange\tunit\ttarget\t")
	fmt.Fprintln(out, "------\t------\t-----\t----\t------\t")
	for _, name := range t.names {
		list := t.figures[name]
		shown := name
		if _, part, ok := strings.Cut(name, beside); ok {
			shown = "  " + part
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t\t\n", shown, number(median(list)), spread(list), t.units[name])
		for _, x := range targets {
			if x.figure == name {
				t.judge(out, x, list)
			}
		}
	}
	_ = out.Flush() // standard output: nobody to tell
}

func (t *table) judge(out io.Writer, x target, list []float64) {
	what, unit := "  it", t.units[x.figure]
	if x.of != "" {
		what, unit = "  ÷ "+x.of, "×"
		list = ratios(list, t.figures[x.of])
	}
	if len(list) == 0 {
		return
	}
	verdict := "not met"
	if x.met(median(list)) {
		verdict = "met"
	}
	fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s: %s\t\n", what, number(median(list)), spread(list), unit, x.wish(), verdict)
}

// ratios are those of figures of the same run: what disturbed one disturbed the other.
func ratios(a, b []float64) []float64 {
	var out []float64
	for i := range min(len(a), len(b)) {
		if b[i] != 0 {
			out = append(out, a[i]/b[i])
		}
	}
	return out
}

func median(list []float64) float64 {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, cmp.Compare[float64])
	n := len(sorted)
	if n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[n/2]
}

func spread(list []float64) string {
	if len(list) < 2 {
		return ""
	}
	return number(slices.Min(list)) + " – " + number(slices.Max(list))
}

// number writes three significant digits, and thousands apart.
func number(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	digits := fmt.Sprintf("%.0f", v)
	var b strings.Builder
	for i, c := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}
