package hermittest

import (
	"fmt"
	"testing"
)

// testProcessors: all begin in the same way, and make calls at once.
func testProcessors(t *testing.T) {
	everyKernel(t, func(t *testing.T, k *Kernel) {
		for _, cpus := range []int{1, 4, 7} {
			s := newShare(t)
			g := &guest{kernel: k.Name, flags: append(s.flags(), fmt.Sprint("-c", cpus)), args: []string{"smp", fmt.Sprint("cpus=", cpus)}}
			g.passes(t)
		}
		for range 2 {
			g := &guest{kernel: k.Name, flags: []string{"-c4"}, args: []string{"all-exit"}}
			if r := g.run(t); r.code < 40 || r.code > 43 {
				t.Errorf("all processors exit: %v", r)
			}
			g.args[0] = "last-exits"
			if r := g.run(t); r.code != 77 {
				t.Errorf("the last processor exits: %v", r)
			}
		}
	})
}
