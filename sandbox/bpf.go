package sandbox

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// A seccomp filter is a classic BPF program over struct seccomp_data
// (linux/seccomp.h): the number of the call, the ABI it came by, and six arguments
// of 64 bits. Offsets of these:
const (
	dataNr   = 0
	dataArch = 4
	dataArgs = 16
)

// rule says what the arguments of a call must be; all conditions hold. One without
// conditions is met by every call.
type rule []condition

// condition is met if an argument, under a mask, is one of the values.
type condition struct {
	arg  int
	mask uint64
	any  []uint64
}

// argIs is the condition that an argument is one of the values, of which the upper
// 32 bits are equal.
func argIs(arg int, values ...uint64) condition {
	return condition{arg, math.MaxUint64, values}
}

// commandIs is argIs for an argument that the kernel takes as 32 bits, whatever
// stands in the upper half.
func commandIs(arg int, values ...uint64) condition {
	return condition{arg, math.MaxUint32, values}
}

// assembler collects the instructions of a filter.
type assembler struct{ code []unix.SockFilter }

func (a *assembler) emit(op int, k uint32) {
	a.code = append(a.code, unix.SockFilter{Code: uint16(op), K: k})
}

func (a *assembler) load(offset int) { a.emit(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, uint32(offset)) }

func (a *assembler) ret(action uint32) { a.emit(unix.BPF_RET|unix.BPF_K, action) }

// ifEqual has body run only if what was loaded is k.
func (a *assembler) ifEqual(k uint32, body func()) error {
	a.emit(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, k)
	jump := len(a.code) - 1
	body()
	skip := len(a.code) - 1 - jump
	if skip > math.MaxUint8 {
		return fmt.Errorf("the rule for a call has %d instructions: more than a jump can skip", skip)
	}
	a.code[jump].Jf = uint8(skip)
	return nil
}

// allowIf returns "allow" if the conditions hold, and goes on behind otherwise.
func (a *assembler) allowIf(r rule) {
	var fails []int // jumps to behind the return
	for _, c := range r {
		for half := range 2 { // the lower half first
			shift := 32 * half
			mask := uint32(c.mask >> shift)
			if mask == 0 {
				continue
			}
			a.load(dataArgs + 8*c.arg + 4*half)
			if mask != math.MaxUint32 {
				a.emit(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, mask)
			}
			values := c.any
			if half == 1 { // they are equal
				values = c.any[:1]
			}
			for i, v := range values {
				a.emit(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, uint32(v>>shift))
				if last := len(values) - 1; i < last {
					a.code[len(a.code)-1].Jt = uint8(last - i) // over the other comparisons
				} else {
					fails = append(fails, len(a.code)-1)
				}
			}
		}
	}
	a.ret(unix.SECCOMP_RET_ALLOW)
	for _, at := range fails {
		a.code[at].Jf = uint8(len(a.code) - 1 - at)
	}
}
