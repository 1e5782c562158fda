package hypercall

import "syscall"

// callExit serves Exit.
func (g *Guest) callExit(c *call) syscall.Errno {
	c.exit, c.code = true, int32(uint32(c.arg))
	return 0
}

// callExitV1 serves V1Exit. Without a code to be found, the guest goes on.
func (g *Guest) callExitV1(c *call) syscall.Errno {
	var p ExitParams
	if errno := g.params(c, Bytes(&p)); errno != 0 {
		return errno
	}
	c.exit, c.code = true, p.Code.Get()
	return 0
}

// callCmdsize serves V1Cmdsize.
func (g *Guest) callCmdsize(c *call) syscall.Errno {
	var p CmdsizeParams
	sizes(&p.Argc, &p.ArgSz, g.args)
	sizes(&p.Envc, &p.EnvSz, g.env)
	return g.answer(c, 0, Bytes(&p), 0)
}

func sizes(count *I32, size *[MaxStrings]I32, list []string) {
	count.Set(int32(len(list)))
	for i, s := range list {
		size[i].Set(int32(len(s) + 1))
	}
}

// callCmdval serves V1Cmdval.
func (g *Guest) callCmdval(c *call) syscall.Errno {
	c.mute = true
	var p CmdvalParams
	if errno := g.params(c, Bytes(&p)); errno != 0 {
		return errno
	}
	args := g.putStrings(p.Argv.Get(), g.args)
	env := g.putStrings(p.Envp.Get(), g.env)
	if args != 0 {
		return args
	}
	return env
}

// putStrings writes each string, with a NUL, to the address that stands in its place of
// the array. A bad address does not keep the others from being written.
func (g *Guest) putStrings(array uint64, list []string) (errno syscall.Errno) {
	for i, s := range list {
		var at U64
		slot := array + uint64(i)*8
		if slot < array || !g.mem.read(slot, at[:]) || !g.mem.write(at.Get(), append([]byte(s), 0)) {
			errno = syscall.EFAULT
		}
	}
	return errno
}
