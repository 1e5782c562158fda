package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report collects what was measured.
type report struct {
	Machine machine  `json:"machine"`
	Rounds  int      `json:"rounds"`
	Results []result `json:"results"`

	contenders []contender
	workloads  []*workload
}

// result is what one contender did in one workload, a sample for each round.
type result struct {
	Workload  string   `json:"workload"`
	Contender string   `json:"contender"`
	Bulk      bool     `json:"bulk"` // units are MiB
	Samples   []sample `json:"samples"`
}

func (r *report) add(w *workload, c contender, s sample) {
	if res := r.find(w, c); res != nil {
		res.Samples = append(res.Samples, s)
		return
	}
	r.Results = append(r.Results, result{w.name, c.Name, w.bulk, []sample{s}})
}

func (r *report) find(w *workload, c contender) *result {
	for i := range r.Results {
		if res := &r.Results[i]; res.Workload == w.name && res.Contender == c.Name {
			return res
		}
	}
	return nil
}

// spread is the middle of some values and how far they lie apart.
type spread struct{ median, least, most float64 }

func spreadOf(values []float64) spread {
	slices.Sort(values)
	n := len(values)
	return spread{(values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]}
}

// perUnit is the spread of a time for each unit of work, in ns.
func (res *result) perUnit(of func(sample) time.Duration) spread {
	values := make([]float64, len(res.Samples))
	for i, s := range res.Samples {
		values[i] = float64(of(s)) / float64(s.Units)
	}
	return spreadOf(values)
}

func took(s sample) time.Duration { return s.Took }
func cpu(s sample) time.Duration  { return s.CPU }

// shown is the spread as it stands in a table: µs for each call, or MiB/s.
func (res *result) shown() string {
	s := res.perUnit(took)
	if res.Bulk {
		return fmt.Sprintf("%s MiB/s (%s–%s)", number(1e9/s.median), number(1e9/s.most), number(1e9/s.least))
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.median/1e3), number(s.least/1e3), number(s.most/1e3))
}

// number writes x with three digits, or with all before the point.
func number(x float64) string {
	switch {
	case x >= 100:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case x >= 10:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return strconv.FormatFloat(x, 'f', 2, 64)
}

// write writes the tables in Markdown.
func (r *report) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. %d rounds: median (least–most).\n\n", r.Machine, r.Rounds)
	r.table(&b, "µs per call or name", r.contenders, func(res *result, _ *workload) string { return res.shown() })
	r.ratios(&b, r.contenders[0], r.contenders[1:])
	ours := slices.DeleteFunc(slices.Clone(r.contenders[1:]), func(c contender) bool { return c.peer })
	for _, c := range r.contenders {
		if c.peer && len(ours) > 0 {
			r.ratios(&b, c, ours)
		}
	}
	r.table(&b, "processor time of the server, µs per call, name or MiB", r.contenders[1:], func(res *result, _ *workload) string {
		return number(res.perUnit(cpu).median / 1e3)
	})
	_, err := io.WriteString(w, b.String())
	return err
}

// ratios writes how many times as long each of columns takes as the base does.
func (r *report) ratios(b *strings.Builder, base contender, columns []contender) {
	r.table(b, "time, as multiple of that of "+base.Name, columns, func(res *result, work *workload) string {
		return number(res.perUnit(took).median / r.find(work, base).perUnit(took).median)
	})
}

func (r *report) table(b *strings.Builder, title string, columns []contender, cell func(*result, *workload) string) {
	if len(columns) == 0 {
		return
	}
	fmt.Fprintf(b, "| %s |", title)
	for _, c := range columns {
		fmt.Fprintf(b, " %s |", c.Name)
	}
	b.WriteString("\n|---" + strings.Repeat("|---:", len(columns)) + "|\n")
	for _, work := range r.workloads {
		fmt.Fprintf(b, "| %s |", work.name)
		for _, c := range columns {
			fmt.Fprintf(b, " %s |", cell(r.find(work, c), work))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

func (r *report) writeJSON(path string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}
