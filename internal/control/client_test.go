package control

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestClientGivesUp ends calls by their context. Their answers come later and are nobody's.
func TestClientGivesUp(t *testing.T) {
	target := &fakeTarget{block: make(chan struct{})}
	path, _ := serve(t, target)
	c := dial(t, path)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if err := c.Remove(ctx, "/"); err == nil || !strings.Contains(err.Error(), "deadline exceeded") {
			t.Errorf("Remove: %v", err)
		}
		cancel()
	}
	if _, err := dial(t, path).Mounts(t.Context()); err != nil {
		t.Errorf("others are held up: %v", err)
	}
	close(target.block)
	for range 2 {
		v, err := c.Version(t.Context())
		check(t, v.Program, "1.2", err)
	}
	if c.late != 0 {
		t.Errorf("%d answers have not come", c.late)
	}
}

func TestDial(t *testing.T) {
	dir := t.TempDir()
	long := filepath.Join(dir, strings.Repeat("d", 100))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), filepath.Join(long, "none")); err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("Dial: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), filepath.Join(dir, "file")); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("Dial: %v", err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "short"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Rename(filepath.Join(dir, "short"), filepath.Join(long, "socket")); err != nil {
		t.Fatal(err)
	}
	c, err := Dial(t.Context(), filepath.Join(long, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// TestHostileServer is a client of a daemon that a guest has taken over.
func TestHostileServer(t *testing.T) {
	for _, tc := range []struct{ name, send, want string }{
		{"no JSON", "hello\n", "this is no daemon of isthmus"},
		{"another id", `{"id":7,"result":{}}` + "\n", "answers request 7, and this was 1"},
		{"nothing", "", "has ended the connection"},
		{"half a line", `{"id":1`, "the last line has no newline"},
		{"another type", `{"id":1,"result":{"ops":3}}` + "\n", "cannot be read"},
		{"no result", `{"id":1}` + "\n", "cannot be read"},
		{"bounds", `{"id":1,"result":{"bounds_ns":[5,5]}}` + "\n", "do not ascend"},
		{"buckets", `{"id":1,"result":{"bounds_ns":[5],"ops":[{"name":"X","buckets":[1,2,3]}]}}` + "\n", "more buckets than"},
		{"endless", strings.Repeat("x", MaxAnswer), "more than 16777216 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ours, server := pair(t)
			go func() {
				_, _ = bufio.NewReader(server).ReadString('\n')
				_, _ = io.WriteString(server, tc.send)
				server.Close()
			}()
			c := NewClient(ours)
			defer c.Close()
			_, err := c.Stats(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func TestRequestsThatAreTooLarge(t *testing.T) {
	path, _ := serve(t, &fakeTarget{})
	c := dial(t, path)
	if err := c.Add(t.Context(), strings.Repeat("x", MaxRequest), nil); err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Errorf("Add: %v", err)
	}
	file := memfile(t, "")
	if err := c.Add(t.Context(), "x", []*os.File{file, file, file, file, file, file, file, file, file}); err == nil || !strings.Contains(err.Error(), "more than 8 descriptors") {
		t.Errorf("Add: %v", err)
	}
	// One that needs several buffers of the socket, with the file at its start.
	spec := strings.Repeat("x", MaxRequest-1000)
	if err := c.Add(t.Context(), spec, []*os.File{file}); err != nil {
		t.Errorf("Add: %v", err)
	}
	if m, err := c.Mounts(t.Context()); err != nil || string(m[0].Path) != spec {
		t.Errorf("Mounts: %v", err)
	}
}
