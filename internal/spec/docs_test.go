package spec

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

const page = "../../docs/shares.md"

// row is the line of an option in the page's tables.
func row(o *OptionHelp) string {
	code := func(words []string, before string) (s string) {
		for _, w := range words {
			s += before + "`" + w + "`"
		}
		return s
	}
	word := "`" + o.Word
	if o.Arg != "" {
		word += "=" + o.Arg
	}
	word += "`" + code(o.Aliases, ", ") + code(o.Negations, ", opposite ")
	help := o.Help
	for i, v := range o.Values {
		help += []string{": ", "; "}[min(i, 1)] + "`" + v.Word + "` " + v.Help
	}
	if o.Repeat {
		help += ". May be repeated"
	}
	initial := o.Default
	if initial == "" {
		initial = "–"
	}
	if o.Types == nil {
		return fmt.Sprintf("| %s | %s | %s |", word, initial, help)
	}
	var types []string
	for _, t := range o.Types {
		types = append(types, t.String())
	}
	which := strings.Join(types, " ")
	if len(types) == 5 {
		which = "all"
	}
	return fmt.Sprintf("| %s | %s | %s | %s |", word, which, initial, help)
}

// TestPageHasAllOptions: the page for users says what the tables here say.
func TestPageHasAllOptions(t *testing.T) {
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]bool{}
	for l := range strings.SplitSeq(string(b), "\n") {
		lines[l] = true
	}
	for _, options := range [][]OptionHelp{Options(), SettingOptions()} {
		for i := range options {
			if r := row(&options[i]); !lines[r] {
				t.Errorf("docs/shares.md lacks the line\n%s", r)
			}
		}
	}
}

// TestPageHasNoOthers: a row of the page is that of an option that there is.
func TestPageHasNoOthers(t *testing.T) {
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for _, head := range []string{"| option | types | default | what it does |\n", "| setting | default | what it does |\n"} {
		_, table, ok := strings.Cut(string(b), head)
		if !ok {
			t.Fatalf("no table has the head %q", head)
		}
		table, _, _ = strings.Cut(table, "\n\n")
		rows = append(rows, regexp.MustCompile("(?m)^\\| `([a-z-]+)").FindAllStringSubmatch(table, -1)...)
	}
	if want := len(Options()) + len(SettingOptions()); len(rows) != want {
		t.Errorf("%d rows, want %d", len(rows), want)
	}
	for _, r := range rows {
		_, option := mountForm.words[r[1]]
		_, setting := settingForm.words[r[1]]
		if !option && !setting {
			t.Errorf("%s is no option", r[1])
		}
	}
}

// TestExamplesOfThePage: what the page shows is read without an error.
func TestExamplesOfThePage(t *testing.T) {
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile("--share (?:'([^']*)'|([^\\s`]+))").FindAllStringSubmatch(string(b), -1)
	files := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(b), -1)
	mappings := regexp.MustCompile(`--file-mapping ([a-z./]+:\S+)`).FindAllStringSubmatch(string(b), -1)
	if len(flags) < 8 || len(files) == 0 || len(mappings) == 0 {
		t.Fatalf("%d values, %d files and %d mappings found: has the page's form changed?", len(flags), len(files), len(mappings))
	}
	for _, f := range flags {
		if m, err := ParseFlag(f[1] + f[2]); err != nil {
			t.Error(err)
		} else {
			reparse(t, m)
		}
	}
	for _, f := range files {
		c, err := Parse(strings.NewReader(f[1]), "example")
		if err != nil {
			t.Error(err)
		} else if err := Check(c.Mounts); err != nil {
			t.Error(err)
		}
	}
	for _, f := range mappings {
		if _, err := ParseUhyveMapping(f[1]); err != nil {
			t.Error(err)
		}
	}
}
