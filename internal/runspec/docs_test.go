package runspec

import (
	"os"
	"strings"
	"testing"
)

const page = "../../docs/hermit.md"

const tableHead = "| option | environment | TOML | default | what it does |\n|---|---|---|---|---|\n"

// row is the line of an option in the page's table.
func row(o *Option) string {
	cell := func(between string, parts ...string) string {
		var s []string
		for _, p := range parts {
			if p != "" {
				s = append(s, "`"+p+"`")
			}
		}
		if s == nil {
			return "–"
		}
		return strings.Join(s, between)
	}
	short, flag, section := "", "", ""
	switch {
	case o.Flag != "":
		flag = "--" + o.Flag
	case o.Repeat:
		flag = "ARGS"
	default:
		flag = "KERNEL"
	}
	if o.Short != "" {
		short = "-" + o.Short
	}
	switch {
	case o.Bare != "" && o.Arg != "":
		flag += "[=" + o.Arg + "]"
	case o.Arg != "" && o.Flag != "":
		flag += " " + o.Arg
	}
	if o.Section != "" {
		section = "[" + o.Section + "]"
	}
	initial := o.Default
	if initial == "" {
		initial = "–"
	}
	help := o.Help
	if o.Repeat && o.Flag != "" {
		help += ". May be repeated"
	}
	return "| " + strings.Join([]string{cell(", ", short, flag), cell("", o.Env), cell(" ", section, o.Key), initial, help}, " | ") + " |"
}

// TestPageHasTheOptions: the page for users says what the table here says.
func TestPageHasTheOptions(t *testing.T) {
	var want []string
	for _, o := range Options() {
		if !o.Hidden {
			want = append(want, row(&o))
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), tableHead)
	table, _, _ = strings.Cut(table, "\n\n")
	if all := strings.Join(want, "\n"); table != all {
		t.Errorf("the table of options in docs/hermit.md should be\n%s%s", tableHead, all)
	}
}
