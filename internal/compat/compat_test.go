package compat

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func allRows() []row { return slices.Concat(launchers, lives, texts, options, lists, guests) }

// servedC and failureC are the C daemon's.
func servedC() outcome  { return asC(served()) }
func failureC() outcome { return asC(failure) }

// asC is what the C daemon makes of an outcome, by what it does everywhere: c-status,
// c-log and c-pid.
func asC(o outcome) outcome {
	if o.status == "2" {
		o.status = "1"
	}
	o.log = strings.Map(func(r rune) rune {
		if r == 'W' {
			return r
		}
		return -1
	}, o.log)
	o.pid, o.warned = "", false
	return o
}

// optionsC are the options of the C daemon, in its spelling.
var optionsC = []string{
	"--socket-path=", "--socket-group=", "--fd=", "--thread-pool-size=", "--rlimit-nofile=",
	"--syslog", "-d", "-f", "-V", "--version", "-h", "--help", "--print-capabilities",
}

// knownToC tells whether the C daemon has all the options.
func knownToC(args string) bool {
	fields := strings.Fields(args)
	for i := 0; i < len(fields); i++ {
		switch f := fields[i]; {
		case f == "-o":
			i++
		case strings.HasPrefix(f, "-o"):
		case slices.Contains(optionsC, f):
		case !slices.ContainsFunc(optionsC, func(o string) bool { return strings.HasSuffix(o, "=") && strings.HasPrefix(f, o) }):
			return false
		}
	}
	return true
}

// expect is what a daemon is to do with a row.
func (r *row) expect(k kind) outcome {
	if b, ok := r.but[k]; ok {
		return b.outcome
	}
	if k != legacyC {
		return r.want
	}
	if !knownToC(r.args) {
		return asC(usage)
	}
	return asC(r.want)
}

// cleanup of what a kind is not asked about.
func comparable(k kind, o outcome) outcome {
	if k == legacyC {
		return asC(o)
	}
	return o
}

func TestCommandLines(t *testing.T) {
	for _, d := range daemons {
		t.Run(d.kind.String(), func(t *testing.T) {
			for _, r := range allRows() {
				if d.kind == legacyC && r.user {
					continue // it is for root alone
				}
				t.Run(r.name, func(t *testing.T) {
					x := start(t, d, &r, newPlace(t))
					if r.do == nil {
						hangUp(x)
					} else {
						r.do(x)
					}
					got, want := comparable(d.kind, x.end()), r.expect(d.kind)
					if got != want {
						t.Errorf("%s %s\n got %s\nwant %s\n%s", d.path, r.args, got, want, x.log())
					}
				})
			}
		})
	}
}

func (o outcome) String() string {
	return fmt.Sprintf("status %s, stdout %q, stderr %v, log %s, warned %v, socket %q, pid file %q, left %q, told %q",
		o.status, o.stdout, o.stderr, o.log, o.warned, o.socket, o.pid, o.left, o.told)
}

func TestEveryDifferenceHasItsReason(t *testing.T) {
	b, err := os.ReadFile("../../docs/virtiofsd-compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := strings.Join(strings.Fields(string(b)), " ")
	used := map[string]bool{"c-status": true, "c-options": true, "c-log": true, "c-pid": true}
	names := map[string]bool{}
	for _, r := range allRows() {
		if names[r.name] {
			t.Errorf("two rows are called %q", r.name)
		}
		names[r.name] = true
		for k, b := range r.but {
			if _, ok := reasons[b.reason]; !ok {
				t.Errorf("%s: %v has no reason to differ: %q", r.name, k, b.reason)
			}
			if b.outcome == r.want {
				t.Errorf("%s: %v does not differ", r.name, k)
			}
			used[b.reason] = true
		}
	}
	for key, text := range reasons {
		if !used[key] {
			t.Errorf("the reason %q is that of no row", key)
		}
		if !strings.Contains(doc, text) {
			t.Errorf("docs/virtiofsd-compatibility.md does not say: %s", text)
		}
	}
}
