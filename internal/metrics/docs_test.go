package metrics

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDocs holds the table in docs/control.md to what a scrape has.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/control.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := find(string(page), regexp.MustCompile("(?m)^\\| `(isthmus_\\w+)` \\| (\\w+) \\|"))
	exposed := find(scraped, regexp.MustCompile(`(?m)^# TYPE (\w+) (\w+)$`))
	if d := cmp.Diff(exposed, documented); d != "" {
		t.Errorf("-a scrape +docs/control.md:\n%s", d)
	}
}

// find lists names and types.
func find(text string, pattern *regexp.Regexp) (list []string) {
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		list = append(list, strings.Join(m[1:], " "))
	}
	slices.Sort(list)
	return list
}
