package spec

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ptr makes an optional value.
func ptr[T any](v T) *T { return &v }

// sameMount fails unless got is want, wherever they were written.
func sameMount(t testing.TB, got, want Mount) {
	t.Helper()
	got.Pos, want.Pos = Pos{}, Pos{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("mount (-got +want):\n%s", cmp.Diff(got, want, cmp.Exporter(func(reflect.Type) bool { return true })))
	}
}

// idMap makes a map of rules.
func idMap(t testing.TB, rules ...string) (m IDMap) {
	t.Helper()
	for _, r := range rules {
		if err := m.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// reparse checks that the canonical form of m is read as m.
func reparse(t testing.TB, m Mount) {
	t.Helper()
	s := m.String()
	again, err := ParseFlag(s)
	if err != nil {
		t.Fatalf("canonical form %q: %v", s, err)
	}
	sameMount(t, again, m)
	if got := again.String(); got != s {
		t.Errorf("canonical form %q of %q", got, s)
	}
}

// requireSame is sameMount for a property.
func requireSame(t interface{ Fatalf(string, ...any) }, got, want Mount) {
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("mount (-got +want):\n%s", cmp.Diff(got, want, cmp.Exporter(func(reflect.Type) bool { return true })))
	}
}
