package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// checkState is how well the host does in one check.
type checkState string

const (
	stateOK      checkState = "ok"
	stateLimited checkState = "limited" // works, but less well or not everywhere
	stateMissing checkState = "missing"
)

// check is one row of the doctor's report. Its JSON form is stable: fields are
// added, never changed, and an id keeps its meaning.
type check struct {
	ID       string     `json:"id"`
	Group    string     `json:"group"`
	Name     string     `json:"name"`
	State    checkState `json:"state"`
	Found    string     `json:"found"`
	Cost     string     `json:"cost,omitempty"` // what the lack costs
	Fix      string     `json:"fix,omitempty"`  // what to do about it
	Required bool       `json:"required"`       // `serve` cannot do without it
}

// report is what `doctor --json` prints.
type report struct {
	Schema int     `json:"schema"` // 1; changes when a program that reads it would have to
	OK     bool    `json:"ok"`     // nothing that is required is missing
	Dir    string  `json:"dir"`
	Checks []check `json:"checks"`
}

// Groups of checks, in the order they are shown.
const (
	groupKernel  = "kernel"
	groupProcess = "this process"
	groupDir     = "the directory"
	groupGuests  = "guests and VMMs"
)

func newDoctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [DIR]",
		Short: "Say what this host can do for isthmus, and what each lack costs",
		Long: `doctor looks at this host, as far as this user may, and at DIR, the directory to share
(default: the current one). It tries things out rather than guessing by version, and leaves
nothing behind. Its exit status is 1 if something is missing that 'isthmus serve' cannot do
without, and 0 otherwise.`,
		Args: cobra.MaximumNArgs(1),
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			r := examine(dir)
			print := r.printText
			if asJSON {
				print = r.printJSON
			}
			if err := print(cmd.OutOrStdout()); err != nil {
				return err
			}
			if !r.OK {
				return &failure{err: errors.New("this host lacks what is required"), code: exitFailure, quiet: true}
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// examine makes all checks.
func examine(dir string) report {
	r := report{Schema: 1, OK: true, Dir: dir}
	for _, group := range []func(dir string) []check{kernelChecks, processChecks, dirChecks, guestChecks} {
		r.Checks = append(r.Checks, group(dir)...)
	}
	for _, c := range r.Checks {
		if c.Required && c.State == stateMissing {
			r.OK = false
		}
	}
	return r
}

func (r *report) printJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// textWidth is the width that explanations are wrapped to.
const textWidth = 96

// printText prints a table: a line for each check and, below it, what a lack
// costs and what to do.
func (r *report) printText(w io.Writer) error {
	name := 0
	for _, c := range r.Checks {
		name = max(name, len(c.Name))
	}
	var b strings.Builder
	group := ""
	for _, c := range r.Checks {
		if c.Group != group {
			group = c.Group
			title := group
			if group == groupDir {
				title += " " + r.Dir
			}
			fmt.Fprintf(&b, "%s%s\n", map[bool]string{true: "\n", false: ""}[b.Len() > 0], title)
		}
		mark := ""
		if c.Required && c.State == stateMissing {
			mark = " (required)"
		}
		fmt.Fprintf(&b, "  %-8s %-*s  %s%s\n", c.State, name, c.Name, c.Found, mark)
		for _, text := range []string{c.Cost, c.Fix} {
			for _, line := range wrap(text, textWidth-13) {
				fmt.Fprintf(&b, "             %s\n", line)
			}
		}
	}
	if !r.OK {
		b.WriteString("\nThis host lacks something that isthmus serve cannot do without: see \"required\" above.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// wrap breaks text into lines of at most width bytes where words allow it.
func wrap(text string, width int) []string {
	var lines []string
	for _, word := range strings.Fields(text) {
		if n := len(lines); n > 0 && len(lines[n-1])+1+len(word) <= width {
			lines[n-1] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}

// readTrimmed returns the content of a small file of the kernel, "" if it
// cannot be read.
func readTrimmed(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
