package fsx

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// doer makes steps, those of one call at the same time.
type doer interface {
	do(ops ...op) ([]answer, error)
}

// here makes steps in this process.
type here struct{ actor }

func (h *here) do(ops ...op) ([]answer, error) {
	answers := make([]answer, len(ops))
	if len(ops) == 1 {
		answers[0] = h.actor.do(ops[0])
		return answers, nil
	}
	var all sync.WaitGroup
	for i := range ops {
		all.Go(func() { answers[i] = h.actor.do(ops[i]) })
	}
	all.Wait()
	return answers, nil
}

// serveVar makes a program that calls MaybeServe the second process.
const serveVar = "ISTHMUS_FSX_SERVE"

// MaybeServe makes this process the second one of a test, if it has been
// started as such, and does not return then. Programs that call [Check] call it
// first of all.
func MaybeServe() {
	if os.Getenv(serveVar) == "" {
		return
	}
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "fsx:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve makes the steps that come in until there are no more.
func serve(in io.Reader, out io.Writer) error {
	var h here
	dec, enc := gob.NewDecoder(in), gob.NewEncoder(out)
	for {
		var ops []op
		if err := dec.Decode(&ops); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		answers, _ := h.do(ops...)
		if err := enc.Encode(answers); err != nil {
			return err
		}
	}
}

// there makes steps in another process.
type there struct {
	enc *gob.Encoder
	dec *gob.Decoder
}

func (p *there) do(ops ...op) ([]answer, error) {
	if err := p.enc.Encode(ops); err != nil {
		return nil, fmt.Errorf("the second process: %w", err)
	}
	var answers []answer
	if err := p.dec.Decode(&answers); err != nil {
		return nil, fmt.Errorf("the second process: %w", err)
	}
	return answers, nil
}

// startProcess starts the second process, which ends with the test.
func startProcess(t *testing.T) *there {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), serveVar+"=1")
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the second process: %v", err)
		}
	})
	return &there{gob.NewEncoder(in), gob.NewDecoder(out)}
}
