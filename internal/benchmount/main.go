package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// config is what the command line says.
type config struct {
	dir      string   // where to make the directory that is measured
	program  string   // of isthmus
	variants []string // flags of "isthmus mount", one contender each
	peers    []string // NAME=COMMAND
	only     []string // parts of names of workloads
	rounds   int
	quick    bool
	json     string // file for all samples
}

// interrupted is the exit status after a signal, as shells have it.
const interrupted = 130

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// command runs the program with args and returns its exit status.
func command(ctx context.Context, args []string, out, progress io.Writer) int {
	c, err := parse(args, progress)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(progress, "benchmount:", err)
		return 2
	}
	err = measure(ctx, c, out, progress)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(progress, "benchmount: interrupted")
		return interrupted
	case err != nil:
		fmt.Fprintln(progress, "benchmount:", err)
		return 1
	}
	return 0
}

func parse(args []string, usage io.Writer) (*config, error) {
	c := new(config)
	fl := pflag.NewFlagSet("benchmount", pflag.ContinueOnError)
	fl.SetOutput(usage)
	fl.SortFlags = false
	fl.StringVar(&c.dir, "dir", os.TempDir(), "directory below which to work, on the file system to measure; /dev/shm for memory")
	fl.StringVar(&c.program, "program", "bin/isthmus", "the program isthmus; empty to measure without it")
	fl.StringArrayVar(&c.variants, "variant", []string{"", "--passthrough=never", "--writeback"}, "flags of 'isthmus mount' for one contender; may be repeated")
	fl.StringArrayVar(&c.peers, "peer", nil, `another contender, NAME=COMMAND: COMMAND is for sh, mounts {dir} on {mnt}
and serves it until SIGTERM; may be repeated`)
	fl.StringArrayVar(&c.only, "only", nil, "only workloads with this in their name; may be repeated")
	fl.IntVar(&c.rounds, "rounds", 7, "turns of each contender")
	fl.BoolVar(&c.quick, "quick", false, "a twentieth of the work, to see that all works")
	fl.StringVar(&c.json, "json", "", "file to write every sample to")
	if err := fl.Parse(args); err != nil {
		return nil, err
	}
	if fl.NArg() != 0 {
		return nil, fmt.Errorf("unknown argument %q", fl.Arg(0))
	}
	if c.rounds < 1 {
		return nil, fmt.Errorf("--rounds %d: want 1 or more", c.rounds)
	}
	return c, nil
}

// measure makes the directory, has all contenders do all rounds in it, and writes
// the tables. Nothing that it made is left when it returns.
func measure(ctx context.Context, c *config, out, progress io.Writer) (err error) {
	workloads := choose(c.only)
	if len(workloads) == 0 {
		return fmt.Errorf("no workload has %q in its name", strings.Join(c.only, `" or "`))
	}
	field, err := contenders(c)
	if err != nil {
		return err
	}
	size := full
	if c.quick {
		size = size.twentieth()
	}
	fmt.Fprintln(progress, "making the files below", c.dir)
	a, err := newArena(c.dir, size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.remove()) }()
	rep := &report{Machine: describe(a.data), Rounds: c.rounds, contenders: field, workloads: workloads}
	for round := range c.rounds {
		for i := range field {
			who := field[(i+round)%len(field)]
			fmt.Fprintf(progress, "round %d of %d: %s\n", round+1, c.rounds, who.Name)
			if err := a.turn(ctx, who, workloads, rep.add); err != nil {
				return fmt.Errorf("%s: %w", who.Name, err)
			}
		}
	}
	if c.json != "" {
		if err := rep.writeJSON(c.json); err != nil {
			return err
		}
	}
	return rep.write(out)
}
