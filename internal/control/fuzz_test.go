package control

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		`{"id":1,"method":"files","params":{"limit":3}}`, `{"method":"add","files":1,"params":{"spec":{"base64":"/w=="}}}`,
		`{"method":"x","params":[]}`, `{"id":1e3}`, `[]`, `{"id":1}{}`, "", `{"method":"remove","params":{"path":"\ud800"}}`,
	} {
		f.Add([]byte(s))
	}
	target := &fakeTarget{stats: Stats{Bounds: []uint64{1}, Ops: []Op{{Name: "READ", Count: 1, Latency: Latency{Buckets: []uint64{0, 1}}}}}}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := decodeRequest(line)
		if err != nil {
			if e, ok := err.(*Error); !ok || e.Code != CodeMalformed {
				t.Fatalf("%#v", err)
			}
			return
		}
		if r.Method == "add" || r.Method == "remove" || r.Method == "log-level" {
			return // they ask the connection who its peer is
		}
		c := newServerConn(nil, target, nil)
		out, err := appendLine(nil, c.answer(t.Context(), &r, nil))
		if err != nil || strings.Count(string(out), "\n") != 1 || !json.Valid(out) {
			t.Fatalf("answer %q, %v", out, err)
		}
	})
}

// FuzzConnection sends any bytes, some with descriptors, and looks at what comes back.
func FuzzConnection(f *testing.F) {
	f.Add([]byte(`{"id":1,"method":"add","files":1,"params":{"spec":"x"}}`+"\n"+`{"id":2,"method":"mounts"}`+"\n"), uint8(2), uint16(10))
	f.Add([]byte("\n\n"), uint8(9), uint16(1))
	f.Add([]byte(`{"method":"log-level","params":{"level":"debug"}}`), uint8(0), uint16(0))
	file := memfile(f, "")
	f.Fuzz(func(t *testing.T, data []byte, files uint8, cut uint16) {
		if len(data) > 100<<10 { // what the socket takes without a reader
			return
		}
		before := describe()
		ours, conn := pair(t)
		served := make(chan error, 1)
		go func() {
			served <- ServeConn(context.Background(), conn, &fakeTarget{}, slog.New(slog.DiscardHandler))
		}()
		go func() {
			at := min(int(cut), len(data))
			_, _ = ours.Write(data[:at])
			var fds []int
			for range files % 12 {
				fds = append(fds, int(file.Fd()))
			}
			if at < len(data) {
				_, _, _ = ours.WriteMsgUnix(data[at:], unix.UnixRights(fds...), nil)
			}
			_ = ours.CloseWrite()
		}()
		out, _ := io.ReadAll(ours)
		ours.Close()
		if err := <-served; err != nil {
			t.Errorf("ServeConn: %v", err)
		}
		for line := range strings.Lines(string(out)) {
			if !json.Valid([]byte(line)) || !strings.HasSuffix(line, "\n") {
				t.Errorf("answer %q", line)
			}
		}
		if after := describe(); after != before {
			t.Errorf("descriptors before:\n%s\nafter:\n%s", before, after)
		}
	})
}
