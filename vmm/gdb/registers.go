package gdb

import (
	"bytes"
	"encoding/binary"
	"strings"
	"syscall"

	"github.com/isthmus-fs/isthmus/kvm"
)

// state are the registers of a processor while they are looked at or changed.
type state struct {
	regs  kvm.Regs
	sregs kvm.Sregs
	xsave kvm.XSave
	// fx is the beginning of xsave, laid out as FXSAVE has it (Intel SDM volume 1). It is
	// nil if KVM does not tell.
	fx []byte
}

// Where things are in fx, and in the whole of XSAVE.
const (
	fxControl   = 0
	fxStatus    = 2
	fxTags      = 4
	fxOpcode    = 6
	fxIP        = 8
	fxDP        = 16
	fxMXCSR     = 24
	fxST        = 32
	fxXMM       = 160
	fxSize      = 416
	xsaveHeader = 512 // its first bits say which parts are not as at reset
	xsaveLegacy = 3   // x87 and SSE
)

// load reads all registers of a processor.
func (st *state) load(c CPU) error {
	if err := c.GetRegs(&st.regs); err != nil {
		return err
	}
	if err := c.GetSregs(&st.sregs); err != nil {
		return err
	}
	st.fx = nil
	if c.GetXSave(&st.xsave) == nil {
		st.fx = make([]byte, 0, fxSize)
		for _, w := range st.xsave.Region[:fxSize/4] {
			st.fx = binary.LittleEndian.AppendUint32(st.fx, w)
		}
	}
	return nil
}

// store writes those that have changed since old was loaded.
func (st *state) store(c CPU, old *state) error {
	if st.sregs != old.sregs {
		if err := c.SetSregs(&st.sregs); err != nil {
			return err
		}
	}
	if !bytes.Equal(st.fx, old.fx) {
		for i := range st.xsave.Region[:fxSize/4] {
			st.xsave.Region[i] = binary.LittleEndian.Uint32(st.fx[4*i:])
		}
		st.xsave.Region[xsaveHeader/4] |= xsaveLegacy
		if err := c.SetXSave(&st.xsave); err != nil {
			return err
		}
	}
	if st.regs != old.regs {
		return c.SetRegs(&st.regs)
	}
	return nil
}

// errUnavailable is of a register that KVM does not tell.
const errUnavailable = syscall.ENODATA

// register is one as the protocol has it: little-endian, size bytes long.
type register struct {
	name  string
	size  int
	typ   string // in the target description
	group string
	get   func(st *state, b []byte) error
	set   func(st *state, b []byte) error
}

// feature is a set of registers in the target description. GDB knows the names of those
// that begin with org.gnu.
type feature struct {
	name      string
	types     string
	registers []register
}

func general(name, typ string, at func(*kvm.Regs) *uint64) register {
	return number(name, 8, typ, "", func(st *state) *uint64 { return at(&st.regs) })
}

func special(name, typ string, at func(*kvm.Sregs) *uint64) register {
	return number(name, 8, typ, "", func(st *state) *uint64 { return at(&st.sregs) })
}

func control(name string, at func(*kvm.Sregs) *uint64) register {
	return number(name, 8, "int64", "system", func(st *state) *uint64 { return at(&st.sregs) })
}

// number is a register of 4 or 8 bytes.
func number(name string, size int, typ, group string, at func(*state) *uint64) register {
	return register{name, size, typ, group,
		func(st *state, b []byte) error {
			var v [8]byte
			binary.LittleEndian.PutUint64(v[:], *at(st))
			copy(b, v[:])
			return nil
		},
		func(st *state, b []byte) error {
			var v [8]byte
			copy(v[:], b)
			*at(st) = binary.LittleEndian.Uint64(v[:])
			return nil
		},
	}
}

// selector is a segment register, which can only be looked at: the hidden part of a
// segment does not follow from a number, but from the guest's tables.
func selector(name string, at func(*kvm.Sregs) *kvm.Segment) register {
	get := func(st *state, b []byte) error {
		binary.LittleEndian.PutUint32(b, uint32(at(&st.sregs).Selector))
		return nil
	}
	return register{name, 4, "int32", "", get, func(st *state, b []byte) error {
		if binary.LittleEndian.Uint32(b) != uint32(at(&st.sregs).Selector) {
			return syscall.EINVAL
		}
		return nil
	}}
}

// float is a register of which n bytes are in fx. The others are 0.
func float(name string, size int, typ, group string, offset, n int) register {
	return register{name, size, typ, group,
		func(st *state, b []byte) error {
			if st.fx == nil {
				return errUnavailable
			}
			clear(b)
			copy(b, st.fx[offset:offset+n])
			return nil
		},
		func(st *state, b []byte) error {
			if st.fx == nil {
				return errUnavailable
			}
			copy(st.fx[offset:], b[:n])
			return nil
		},
	}
}

// tags is FTAG. FXSAVE keeps a bit for each register that is not empty; the
// full form has two, which say what is in it.
func tags() register {
	return register{"ftag", 4, "int", "float",
		func(st *state, b []byte) error {
			if st.fx == nil {
				return errUnavailable
			}
			binary.LittleEndian.PutUint32(b, uint32(fullTags(st.fx)))
			return nil
		},
		func(st *state, b []byte) error {
			if st.fx == nil {
				return errUnavailable
			}
			full := binary.LittleEndian.Uint16(b)
			if full == fullTags(st.fx) {
				return nil
			}
			st.fx[fxTags] = 0
			for i := range 8 {
				if full>>(2*i)&3 != tagEmpty {
					st.fx[fxTags] |= 1 << i
				}
			}
			return nil
		},
	}
}

const (
	tagValid = iota
	tagZero
	tagSpecial
	tagEmpty
)

func fullTags(fx []byte) uint16 {
	top := int(binary.LittleEndian.Uint16(fx[fxStatus:])>>11) & 7
	var full uint16
	for i := range 8 { // physical registers; those in fx count from the top of the stack
		tag := uint16(tagEmpty)
		if fx[fxTags]>>i&1 != 0 {
			tag = floatTag(fx[fxST+16*((i-top)&7):])
		}
		full |= tag << (2 * i)
	}
	return full
}

// floatTag classifies a number of 80 bits.
func floatTag(b []byte) uint16 {
	mantissa, exponent := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint16(b[8:])&0x7fff
	switch {
	case exponent == 0 && mantissa == 0:
		return tagZero
	case exponent == 0 || exponent == 0x7fff || mantissa>>63 == 0:
		return tagSpecial
	}
	return tagValid
}

// readRegisters returns registers as the protocol has them, one that is not available as "x"s.
func (s *session) readRegisters(cpu int, list []*register) (string, error) {
	var st state
	if err := s.t.Do(cpu, st.load); err != nil {
		return "", err
	}
	var out strings.Builder
	var buf [16]byte
	for _, r := range list {
		b := buf[:r.size]
		if r.get(&st, b) != nil {
			out.WriteString(strings.Repeat("x", 2*r.size))
			continue
		}
		out.WriteString(formatBytes(b))
	}
	return out.String(), nil
}

// writeRegisters sets the registers of list, those whose form is of "x"s excepted. The text
// may be of fewer registers, but not of half a one.
func (s *session) writeRegisters(cpu int, list []*register, text string) error {
	return s.t.Do(cpu, func(c CPU) error {
		var st state
		if err := st.load(c); err != nil {
			return err
		}
		old := st
		old.fx = bytes.Clone(st.fx)
		for _, r := range list {
			if text == "" {
				break
			}
			if len(text) < 2*r.size {
				return syscall.EINVAL
			}
			own := text[:2*r.size]
			text = text[2*r.size:]
			if strings.Trim(own, "x") == "" {
				continue
			}
			b, err := parseBytes(own)
			if err != nil {
				return err
			}
			if err := r.set(&st, b); err != nil {
				return err
			}
		}
		if text != "" {
			return syscall.EINVAL
		}
		return st.store(c, &old)
	})
}

// getRegs returns the general registers of a processor.
func (s *session) getRegs(cpu int) (r kvm.Regs, err error) {
	err = s.t.Do(cpu, func(c CPU) error { return c.GetRegs(&r) })
	return r, err
}

// setPC moves a processor to another instruction.
func (s *session) setPC(cpu int, pc uint64) error {
	return s.t.Do(cpu, func(c CPU) error {
		var r kvm.Regs
		if err := c.GetRegs(&r); err != nil {
			return err
		}
		r.RIP = pc
		return c.SetRegs(&r)
	})
}
