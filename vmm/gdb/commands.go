package gdb

import (
	"errors"
	"strconv"
	"strings"
	"syscall"

	"github.com/isthmus-fs/isthmus/kvm"
	"github.com/isthmus-fs/isthmus/vmm"
)

// handler answers a packet, of which args is what follows its name. A syscall.Errno as
// error is told the peer; others end the session, after the reply if there is one. An
// empty reply without an error says that the packet is unknown.
type handler func(s *session, args string) (reply string, err error)

// command is a packet with a name of several letters, which ends where its arguments begin.
type command struct {
	name string
	do   handler
}

// letters are the packets named by one letter.
var letters = [128]handler{
	'?': func(s *session, _ string) (string, error) { return s.stopReply() },
	'c': (*session).continueOld, 'C': (*session).continueSignal,
	's': (*session).stepOld, 'S': (*session).stepSignal,
	'D': func(*session, string) (string, error) { return "OK", errDetached },
	'k': func(s *session, _ string) (string, error) { return "", s.kill() },
	'g': (*session).getAll, 'G': (*session).setAll,
	'p': (*session).getOne, 'P': (*session).setOne,
	'm': (*session).readHex, 'x': (*session).readBinary,
	'M': (*session).writeHex, 'X': (*session).writeBinary,
	'H': (*session).chooseThread, 'T': (*session).alive,
	'z': (*session).remove, 'Z': (*session).insert,
}

// words are the other packets. The first that fits is taken.
var words = []command{
	{"qSupported", (*session).supported},
	{"QStartNoAckMode", (*session).noAck},
	{"qXfer:features:read:target.xml:", (*session).describe},
	{"qAttached", constant("1")}, // to leave it is to detach, not to kill
	{"qOffsets", (*session).offsets},
	{"qfThreadInfo", (*session).threads},
	{"qsThreadInfo", constant("l")},
	{"qThreadExtraInfo,", (*session).threadName},
	{"qC", (*session).currentThread},
	{"vCont?", constant("vCont;c;C;s;S;r")},
	{"vCont;", (*session).resumeThreads},
	{"vKill;", func(s *session, _ string) (string, error) { return "OK", s.kill() }},
}

func constant(reply string) handler {
	return func(*session, string) (string, error) { return reply, nil }
}

// dispatch answers a packet, as handlers do, but for errors that the peer is told.
func (s *session) dispatch(packet string) (string, error) {
	do, args := find(packet)
	if do == nil {
		return "", nil
	}
	reply, err := do(s, args)
	var lost lostError
	var errno syscall.Errno
	switch {
	case errors.As(err, &lost):
		return "", err
	case errors.As(err, &errno):
		return "E" + formatBytes([]byte{byte(errno)}), nil
	case errors.Is(err, vmm.ErrEnded):
		return "", errOver
	}
	return reply, err
}

func find(packet string) (do handler, args string) {
	if packet == "" {
		return nil, ""
	}
	if c := packet[0]; int(c) < len(letters) && letters[c] != nil {
		return letters[c], packet[1:]
	}
	for _, w := range words {
		if args, ok := strings.CutPrefix(packet, w.name); ok {
			return w.do, args
		}
	}
	return nil, ""
}

// features of the protocol that the peer may use.
var supportedReply = "PacketSize=" + format(maxPacket) + ";QStartNoAckMode+;qXfer:features:read+;" +
	"swbreak+;hwbreak+;vContSupported+;binary-upload+"

func (s *session) supported(args string) (string, error) {
	for _, f := range strings.Split(strings.TrimPrefix(args, ":"), ";") {
		switch f {
		case "swbreak+":
			s.swbreak = true
		case "hwbreak+":
			s.hwbreak = true
		}
	}
	return supportedReply, nil
}

// noAck has packets acknowledged no more, those after the reply to this one.
func (s *session) noAck(string) (string, error) {
	s.link.noAck = true
	return "OK", nil
}

// describe sends a part of the target description.
func (s *session) describe(args string) (string, error) {
	offset, n, err := parsePair(args)
	if err != nil {
		return "", err
	}
	if offset > uint64(len(description)) {
		return "", syscall.EINVAL
	}
	part := description[offset:]
	if n = min(n, maxData); n >= uint64(len(part)) {
		return "l" + part, nil
	}
	return "m" + part[:n], nil
}

func (s *session) offsets(string) (string, error) {
	o := format(s.t.Offset())
	return "Text=" + o + ";Data=" + o + ";Bss=" + o, nil
}

func (s *session) threads(string) (string, error) {
	list := make([]string, s.t.CPUs())
	for cpu := range list {
		list[cpu] = formatThread(cpu)
	}
	return "m" + strings.Join(list, ","), nil
}

var stateNames = map[kvm.MPState]string{
	kvm.MP_STATE_UNINITIALIZED: " (not started)",
	kvm.MP_STATE_INIT_RECEIVED: " (not started)",
	kvm.MP_STATE_SIPI_RECEIVED: " (starting)",
	kvm.MP_STATE_HALTED:        " (halted)",
}

// threadName describes a processor to people.
func (s *session) threadName(args string) (string, error) {
	cpu, err := s.parseThread(args)
	if err != nil {
		return "", err
	}
	if cpu < 0 {
		return "", syscall.EINVAL
	}
	var state kvm.MPState
	err = s.t.Do(cpu, func(c CPU) error {
		state, err = c.GetMPState()
		return err
	})
	if err != nil {
		return "", err
	}
	return formatBytes([]byte("CPU " + strconv.Itoa(cpu) + stateNames[state])), nil
}

func (s *session) currentThread(string) (string, error) {
	return "QC" + formatThread(s.current), nil
}

// chooseThread is H: g for the processor of registers and memory, c for what goes on.
func (s *session) chooseThread(args string) (string, error) {
	if args == "" {
		return "", syscall.EINVAL
	}
	cpu, err := s.parseThread(args[1:])
	if err != nil {
		return "", err
	}
	switch args[0] {
	case 'c':
		s.control = cpu
	case 'g':
		if cpu < 0 {
			cpu = s.current
		}
		s.general = cpu
	default:
		return "", syscall.EINVAL
	}
	return "OK", nil
}

func (s *session) alive(args string) (string, error) {
	if cpu, err := s.parseThread(args); err != nil || cpu < 0 {
		return "", syscall.ESRCH
	}
	return "OK", nil
}

func (s *session) getAll(string) (string, error) { return s.readRegisters(s.general, registers) }

func (s *session) setAll(args string) (string, error) {
	return ok(s.writeRegisters(s.general, registers, args))
}

func (s *session) getOne(args string) (string, error) {
	n, err := parseRegister(args)
	if err != nil {
		return "", err
	}
	return s.readRegisters(s.general, registers[n:n+1])
}

func (s *session) setOne(args string) (string, error) {
	which, value, found := strings.Cut(args, "=")
	n, err := parseRegister(which)
	if err != nil || !found || len(value) != 2*registers[n].size {
		return "", syscall.EINVAL
	}
	return ok(s.writeRegisters(s.general, registers[n:n+1], value))
}

func parseRegister(text string) (int, error) {
	n, err := parse(text)
	if err != nil || n >= uint64(len(registers)) {
		return 0, syscall.EINVAL
	}
	return int(n), nil
}

// ok is the reply of a packet that asks for nothing.
func ok(err error) (string, error) {
	if err != nil {
		return "", err
	}
	return "OK", nil
}

func (s *session) readHex(args string) (string, error) {
	b, err := s.readAt(args)
	return formatBytes(b), err
}

func (s *session) readBinary(args string) (string, error) {
	b, err := s.readAt(args)
	return "b" + string(b), err
}

// readAt reads "ADDRESS,LENGTH": less than asked for if there is less, but something.
func (s *session) readAt(args string) ([]byte, error) {
	addr, n, err := parsePair(args)
	if err != nil || n == 0 {
		return nil, err
	}
	b := make([]byte, min(n, maxData))
	got, err := s.readMemory(s.general, addr, b)
	if err == nil && got == 0 {
		err = syscall.EFAULT
	}
	return b[:got], err
}

func (s *session) writeHex(args string) (string, error) {
	where, text, _ := strings.Cut(args, ":")
	data, err := parseBytes(text)
	if err != nil {
		return "", err
	}
	return ok(s.writeAt(where, data))
}

func (s *session) writeBinary(args string) (string, error) {
	where, data, _ := strings.Cut(args, ":")
	return ok(s.writeAt(where, []byte(data)))
}

// writeAt writes to "ADDRESS,LENGTH".
func (s *session) writeAt(where string, data []byte) error {
	addr, n, err := parsePair(where)
	if err != nil {
		return err
	}
	if n != uint64(len(data)) {
		return syscall.EINVAL
	}
	return s.writeMemory(s.general, addr, data)
}

// Kinds of Z and z packets.
const softKind = '0'

var hardKinds = map[byte]hardKind{'1': hardExecute, '2': hardWrite, '4': hardAccess}

// parseBreakpoint reads "KIND,ADDRESS,LENGTH". known is false for kinds that there are not,
// such as watchpoints for reads only.
func parseBreakpoint(args string) (kind byte, b hardBreakpoint, known bool, err error) {
	if len(args) < 2 || args[1] != ',' {
		return 0, b, false, nil
	}
	kind = args[0]
	b.kind, known = hardKinds[kind]
	known = known || kind == softKind
	b.addr, b.length, err = parsePair(args[2:])
	return kind, b, known, err
}

func (s *session) insert(args string) (string, error) {
	kind, b, known, err := parseBreakpoint(args)
	if !known {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if kind != softKind {
		return ok(s.hard.insert(b))
	}
	if b.length != 1 {
		return "", syscall.EINVAL
	}
	return ok(s.insertSoft(s.general, b.addr))
}

func (s *session) remove(args string) (string, error) {
	kind, b, known, err := parseBreakpoint(args)
	if !known {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if kind == softKind {
		s.removeSoft(b.addr)
	} else {
		s.hard.remove(b)
	}
	return "OK", nil
}

// kill ends the machine.
func (s *session) kill() error {
	s.t.End(vmm.Outcome{Reason: vmm.Stopped, CPU: -1, Err: ErrKilled})
	return ErrKilled
}
