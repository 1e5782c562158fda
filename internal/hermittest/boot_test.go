package hermittest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// testBoot: registers, boot information, device tree and page tables.
func testBoot(t *testing.T) {
	everyKernel(t, func(t *testing.T, k *Kernel) {
		s := newShare(t)
		for _, cpus := range []int{1, 4} {
			for _, aslr := range []bool{false, true} {
				g := &guest{kernel: k.Name, flags: append(s.flags(), fmt.Sprint("-c", cpus), "-m32MiB")}
				g.args = []string{"bootinfo", "ram=33554432", fmt.Sprint("cpus=", cpus), fmt.Sprint("now=", time.Now().Unix()), "mounts=" + mounts}
				switch {
				case aslr && k.Fixed:
					g.args = append(g.args, "base=0")
				case aslr:
				case k.Interface == 1:
					g.flags, g.args = append(g.flags, "--no-aslr"), append(g.args, "base=0")
				default:
					g.flags, g.args = append(g.flags, "--no-aslr"), append(g.args, fmt.Sprint("base=", 4<<30))
				}
				g.passes(t)
			}
		}
		g := &guest{kernel: k.Name, args: []string{"no-memory"}}
		g.passes(t)
	})
}

// testRelocated: the guest is somewhere else each time.
func testRelocated(t *testing.T) {
	everyKernel(t, func(t *testing.T, k *Kernel) {
		where := map[string]bool{}
		for range 4 {
			g := &guest{kernel: k.Name, args: []string{"where"}}
			where[g.passes(t).out] = true
		}
		// That all four are the same by chance happens once in a thousand million times.
		if moves := len(where) > 1; moves == k.Fixed {
			t.Errorf("places %v", where)
		}
	})
}

// testCommandLine: words arrive as they are, however kernels take them.
func testCommandLine(t *testing.T) {
	everyKernel(t, func(t *testing.T, k *Kernel) {
		words := []string{"plain", "two words", "a'b", `"quoted"`, `back\slash`, "", "--", "-x", "$HOME", "ümlaut", "a=b", "tab\there"}
		if k.Legacy {
			words = append(words[:6:6], words[7:]...) // such a kernel cannot tell which -- is which
		}
		g := &guest{kernel: k.Name, kargs: []string{"--"}, args: append([]string{"arguments"}, words...)}
		if r := g.run(t); r.code != 0 || r.out != "["+strings.Join(words, "]\n[")+"]\n" {
			t.Error(r)
		}
		if k.Legacy {
			return
		}
		g = &guest{kernel: k.Name, kargs: []string{"--", "-freq", "3000", "a b"}, args: []string{"kernel-arguments"}, flags: []string{"-e", "A=1 2", "-e", "B=😀;"}}
		if r := g.run(t); r.code != 0 || r.out != "[-freq]\n[3000]\n[a b]\n[env=A=1 2]\n[env=B=😀;]\n" {
			t.Error(r)
		}
	})
}
