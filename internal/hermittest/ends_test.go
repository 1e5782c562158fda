package hermittest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// testEnds: exit codes, and ends without one.
func testEnds(t *testing.T) {
	everyKernel(t, func(t *testing.T, k *Kernel) {
		for _, tt := range []struct {
			args   string
			status int
			code   string // in full, as statistics have it
		}{
			{"exit 0", 0, "0"},
			{"exit 1", 1, "1"},
			{"exit 255", 255, "255"},
			{"exit 256", 0, "256"},
			{"exit -1", 255, "-1"},
			{"exit 0x7fffffff", 255, "2147483647"},
			{"exit -2147483648", 0, "-2147483648"},
			{"exit-v2 77", 77, "77"},
		} {
			g := &guest{kernel: k.Name, flags: []string{"--stats=json", "-m16MiB"}, args: strings.Fields(tt.args)}
			r := g.run(t)
			var stats struct{ Code json.Number }
			if err := json.Unmarshal([]byte(r.errOut), &stats); err != nil || r.code != tt.status || stats.Code.String() != tt.code {
				t.Errorf("%s: %v, %v, want %d", tt.args, err, r, tt.status)
			}
		}
		g := &guest{kernel: k.Name, args: []string{"triplefault"}}
		if r := g.run(t); r.code != 1 || !strings.Contains(r.errOut, "triple fault") || strings.Count(r.errOut, "\n") != 1 {
			t.Errorf("triple fault: %v", r)
		}
	})
	for _, tt := range []struct {
		kernel, out string
	}{{Empty, ""}, {Hello, "!"}} {
		g := &guest{kernel: tt.kernel}
		if r := g.run(t); r.code != 0 || r.out != tt.out {
			t.Errorf("%s: %v", tt.kernel, r)
		}
	}
}

// testSignals: a guest that does not end is ended.
func testSignals(t *testing.T) {
	for _, tt := range []struct {
		program, says string
		signal        syscall.Signal
		cpus          int
	}{
		{"hang", "hanging", syscall.SIGINT, 1},
		{"hang", "hanging", syscall.SIGTERM, 4},
		{"sleep", "sleeping", syscall.SIGTERM, 1},
		{"sleep", "sleeping", syscall.SIGINT, 4},
	} {
		t.Run(fmt.Sprintf("%s/%v/%d", tt.program, tt.signal, tt.cpus), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			g := &guest{kernel: "v3", flags: []string{fmt.Sprint("-c", tt.cpus)}, args: []string{tt.program}}
			cmd := g.command(ctx)
			var errOut bytes.Buffer
			cmd.Stderr = &errOut
			out, err := cmd.StdoutPipe()
			check(t, err)
			check(t, cmd.Start())
			if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != tt.says+"\n" {
				t.Errorf("output %q, %v", line, err)
			}
			check(t, cmd.Process.Signal(tt.signal))
			err = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); ctx.Err() != nil || code != 128+int(syscall.SIGINT) || !strings.Contains(errOut.String(), "interrupted") {
				t.Errorf("%v, exit code %d: %s", err, code, &errOut)
			}
		})
	}
}

// testConsole: where the console goes.
func testConsole(t *testing.T) {
	file := filepath.Join(t.TempDir(), "console")
	for _, tt := range []struct {
		flag, out string
		status    int
	}{
		{"-o-", "[x]\n", 0},
		{"-onone", "", 0},
		{"-o" + file, "", 0},
		{"-o" + file, "", 1}, // it is there now
	} {
		g := &guest{kernel: "v2", flags: []string{tt.flag}, args: []string{"arguments", "x"}}
		if r := g.run(t); r.code != tt.status || r.out != tt.out {
			t.Errorf("%s: %v", tt.flag, r)
		}
	}
	holds(t, file, "[x]\n")
}

// testInput: what comes in at descriptor 0 goes out at 1.
func testInput(t *testing.T) {
	data := make([]byte, 300_000)
	rand.Read(data)
	for _, kernel := range []string{"v1", "v3"} {
		g := &guest{kernel: kernel, args: []string{"echo"}, stdin: data}
		if r := g.run(t); r.code != 0 || r.out != string(data) || r.errOut != "" {
			t.Errorf("%s: exit code %d, %d bytes, %s", kernel, r.code, len(r.out), r.errOut)
		}
	}
	// Whoever waits for input does not keep the machine from its end.
	r, w, err := os.Pipe()
	check(t, err)
	defer w.Close()
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	g := &guest{kernel: "v3", flags: []string{"-c2"}, args: []string{"exit-while-reading"}}
	cmd := g.command(ctx)
	cmd.Stdin = r
	cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 33 {
		t.Errorf("exit code %d while a processor reads", code)
	}
}

// testIsolation: the calls do the same, however closed in the process is.
func testIsolation(t *testing.T) {
	for _, mode := range []string{"none", "normal", "strict"} {
		s := newShare(t)
		g := &guest{kernel: "v3", flags: append(s.flags(), "--file-isolation="+mode), args: append([]string{"calls-v3", fmt.Sprint("umask=", umask)}, s.attributes(t)...)}
		g.passes(t)
	}
}
