package hermittest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long a guest may take, on the slowest of machines.
const patience = 3 * time.Minute

// guest is a run of isthmus with a guest in it.
type guest struct {
	kernel string
	image  string   // in its place, the path of a Hermit image
	flags  []string // of isthmus run
	kargs  []string // what is for the kernel
	args   []string // what is for the application: the guest's program and its words
	stdin  []byte
	env    []string
}

// result is how it ended.
type result struct {
	code        int
	out, errOut string
}

func (r result) String() string {
	return fmt.Sprintf("exit code %d, output:\n%s\nerrors:\n%s", r.code, r.out, r.errOut)
}

func (g *guest) command(ctx context.Context) *exec.Cmd {
	path := g.image
	if path == "" {
		path = program(g.kernel)
	}
	args := slices.Concat([]string{"run", "--config=/dev/null", "--log-level=error"}, g.flags, []string{path}, g.kargs)
	if len(g.args) != 0 {
		args = append(append(args, "--"), g.args...)
	}
	cmd := exec.CommandContext(ctx, program(isthmus), args...)
	cmd.Env = append([]string{"PATH=/nonexistent"}, g.env...)
	return cmd
}

// run runs a guest to its end.
func (g *guest) run(t testing.TB) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := g.command(ctx)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(g.stdin), &out, &errOut
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	r := result{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
	if ctx.Err() != nil {
		t.Fatalf("%v: %v: %v", cmd.Args, ctx.Err(), r)
	}
	return r
}

// passes runs a guest whose program succeeds. An exit code that is not 0 proves that the
// guest has said so itself.
func (g *guest) passes(t testing.TB) result {
	t.Helper()
	const code = 42
	g.args = append(slices.Clip(g.args), "code=42")
	r := g.run(t)
	if r.code != code || strings.Contains(r.out, "FAIL") {
		t.Errorf("%s %v %q: %v", g.kernel, g.flags, g.args, r)
	}
	return r
}

// everyKernel runs a test for each kernel that has programs.
func everyKernel(t *testing.T, test func(t *testing.T, k *Kernel)) {
	for i := range Kernels {
		if k := &Kernels[i]; !k.tiny {
			t.Run(k.Name, func(t *testing.T) { test(t, k) })
		}
	}
}
