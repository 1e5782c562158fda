//go:build !cgo

package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSubordinateMaps(t *testing.T) {
	for _, tc := range []struct {
		name, subuid, subgid string
		unnamed              bool // the user is not in /etc/passwd
		want                 [][]IDMap
		fail                 string
	}{
		{
			name:   "by name",
			subuid: "other:1:1\nsandboxer:300000:1000\n", subgid: "sandboxer:400000:65536\n",
			want: [][]IDMap{{{0, testUser, 1}, {1, 300000, 1000}}, {{0, testUser, 1}, {1, 400000, 65536}}},
		},
		{
			name:   "several ranges, by number too",
			subuid: "sandboxer:300000:1000\n12345:500000:10\n", subgid: "12345:400000:1\n",
			want: [][]IDMap{{{0, testUser, 1}, {1, 300000, 1000}, {1001, 500000, 10}}, {{0, testUser, 1}, {1, 400000, 1}}},
		},
		{
			name: "no name", unnamed: true,
			subuid: "12345:500000:10\n", subgid: "12345:400000:1\n:1:1\n",
			want: [][]IDMap{{{0, testUser, 1}, {1, 500000, 10}}, {{0, testUser, 1}, {1, 400000, 1}}},
		},
		{name: "none", subuid: "other:300000:1000\n", subgid: "", fail: "/etc/subuid has no range of ids for the user sandboxer"},
		{name: "no groups", subuid: "sandboxer:300000:1000\n", subgid: "other:1:1\n", fail: "/etc/subgid has no range"},
		{name: "empty range", subuid: "sandboxer:300000:0\n", subgid: "", fail: "cannot be"},
		{name: "negative", subuid: "sandboxer:-5:10\n", subgid: "", fail: "cannot be"},
		{name: "overflow", subuid: "sandboxer:4294967290:10\n", subgid: "", fail: "past the highest id"},
		{name: "own id again", subuid: "sandboxer:12340:10\n", subgid: "", fail: "overlap outside"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := testDir(t)
			j := job{Config: Config{Mode: ModeNone, Shares: []Share{{Path: dir}}}, Probe: "maps"}.asUser(t, dir)
			for file, content := range map[string]string{"subuid": tc.subuid, "subgid": tc.subgid} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if tc.unnamed {
				if err := os.WriteFile(filepath.Join(dir, "passwd"), []byte("root:x:0:0::/:/bin/sh\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			s := j.start(t)
			if tc.fail != "" {
				if failure := s.next("inner", nil); !strings.Contains(failure, tc.fail) {
					t.Errorf("error %q lacks %q", failure, tc.fail)
				}
			} else {
				var got [][]IDMap
				s.next("inner", &got)
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("maps of uids and gids (-want +got):\n%s", diff)
				}
			}
			s.wait()
		})
	}
}

// Without maps, a process gets its own id; one that may change to any other keeps all.
func TestMappableIDs(t *testing.T) {
	for _, k := range []*idKind{&uidKind, &gidKind} {
		if got := fmt.Sprint(k.mappable(0)); got != "[0 0 1]" {
			t.Errorf("%s without capabilities: %s", k.name, got)
		}
		if got := fmt.Sprint(k.mappable(capsOf(k.capability))); got != "[0 0 4294967295]" {
			t.Errorf("%s with the capability: %s", k.name, got)
		}
	}
}
