package control

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestDocs reads the examples in docs/control.md: each method has one, and each is what
// this package reads and writes.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/control.md")
	if err != nil {
		t.Fatal(err)
	}
	results := map[string]func() any{
		"version": func() any { return new(Version) },
		"mounts": func() any {
			return new(struct {
				Mounts []Mount `json:"mounts"`
			})
		},
		"files":     func() any { return new(Files) },
		"stats":     func() any { return new(Stats) },
		"add":       func() any { return new(empty) },
		"remove":    func() any { return new(empty) },
		"log-level": func() any { return new(logLevel) },
	}
	shown := map[string]int{}
	var asked request
	for line := range strings.Lines(string(page)) {
		line, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "    {")
		if !ok {
			continue
		}
		line = "{" + line
		if r, err := decodeRequest([]byte(line)); err == nil {
			asked = r
			continue
		}
		var a answer
		if err := decodeStrictly([]byte(line), &a); err != nil || a.ID != asked.ID {
			t.Errorf("%s: %v, or it does not answer request %d", line, err, asked.ID)
			continue
		}
		shown[asked.Method]++
		if a.Error != nil {
			continue
		}
		if results[asked.Method] == nil {
			t.Errorf("%s: unknown method %q", line, asked.Method)
			continue
		}
		v := results[asked.Method]()
		if err := decodeStrictly(a.Result, v); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if back, err := json.Marshal(v); err != nil || string(back) != string(a.Result) {
			t.Errorf("%s says\n%s, and it is\n%s", asked.Method, a.Result, back)
		}
		if s, ok := v.(*Stats); ok {
			s.fillQuantiles()
			if again, _ := json.Marshal(s); string(again) != string(a.Result) {
				t.Errorf("the quantiles of the example are %s", again)
			}
		}
	}
	for name := range methods {
		if shown[name] == 0 || !strings.Contains(string(page), "\n### "+name+"\n") {
			t.Errorf("there is no example of %s", name)
		}
	}
	for _, code := range []Code{CodeMalformed, CodeBusy, CodeUnknownMethod, CodeBadParams, CodeNotFound, CodeExists, CodeUnsupported, CodeFailed} {
		if !strings.Contains(string(page), "\n| `"+string(code)+"` |") {
			t.Errorf("code %s is not in the table", code)
		}
	}
}
