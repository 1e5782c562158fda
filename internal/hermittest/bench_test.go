package hermittest

import (
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// BenchmarkInTheLab prints what the others say in an emulated PC. These numbers are of
// use only beside each other.
func BenchmarkInTheLab(b *testing.B) {
	if os.Getenv(envKVM) != "" {
		b.Skip("for where there is no KVM")
	}
	needPrograms(b)
	b.Log(inTheLab(b, "-test.run=^$", "-test.bench=.", "-test.timeout=14m"))
}

// needKVM is for benchmarks of this machine's KVM, or the emulated PC's.
func needKVM(b *testing.B) {
	if os.Getenv(envKVM) == "" {
		b.Skip("ISTHMUS_KVM=1 uses the KVM of this machine")
	}
	needPrograms(b)
}

// quick is a guest with nothing to do.
func quick(kernel string) *guest { return &guest{kernel: kernel, flags: []string{"-m16MiB"}} }

// BenchmarkEmptyGuest is from exec to the exit of a guest whose first instruction is one.
func BenchmarkEmptyGuest(b *testing.B) {
	needKVM(b)
	for b.Loop() {
		if r := quick(Empty).run(b); r.code != 0 {
			b.Fatal(r)
		}
	}
}

// BenchmarkFirstInstruction is from exec to a byte that the guest writes first of all.
func BenchmarkFirstInstruction(b *testing.B) {
	needKVM(b)
	for b.Loop() {
		cmd := quick(Hello).command(b.Context())
		out, err := cmd.StdoutPipe()
		check(b, err)
		check(b, cmd.Start())
		var first [1]byte
		if _, err := io.ReadFull(out, first[:]); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		check(b, cmd.Wait())
		b.StartTimer()
	}
}

// BenchmarkExec is what it costs to start a program that does nothing, for comparison.
func BenchmarkExec(b *testing.B) {
	needKVM(b)
	for b.Loop() {
		check(b, exec.Command(program(isthmus), "--version").Run())
	}
}

// BenchmarkHypercall is the cost of one call: an lseek of a descriptor that is not open,
// and a read of 4 KiB with the lseek before it.
func BenchmarkHypercall(b *testing.B) {
	needKVM(b)
	for _, words := range []string{"loop N", "reads N 4096", "reads N 65536"} {
		b.Run(strings.ReplaceAll(words, " ", "-"), func(b *testing.B) {
			s := newShare(b)
			check(b, os.WriteFile(s.path("data/big"), make([]byte, 65536), 0o644))
			g := &guest{kernel: "v3", flags: s.flags(), args: strings.Fields(strings.Replace(words, "N", strconv.Itoa(b.N), 1))}
			b.ResetTimer()
			if r := g.run(b); r.code != 0 {
				b.Fatal(r)
			}
		})
	}
}
