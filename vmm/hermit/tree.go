package hermit

import (
	"fmt"
	"strings"
)

// tree writes the device tree of a guest. Its size does not depend on the layout, but
// for the digits of Base.
func (c *Config) tree(l *Layout) ([]byte, error) {
	args, err := bootargs(c.KernelArgs, c.AppArgs, c.Env)
	if err != nil {
		return nil, err
	}
	for _, m := range c.Mounts {
		if strings.IndexByte(m, 0) >= 0 {
			return nil, fmt.Errorf("the path %q has a zero byte in it", m)
		}
	}
	f := newFDT()
	f.begin("")
	f.u32("#address-cells", 2)
	f.u32("#size-cells", 2)
	f.text("compatible", "hermit,uhyve")

	f.begin(fmt.Sprintf("memory@%x", l.Base))
	f.text("device_type", "memory")
	f.u64("reg", l.Base, l.End-l.Base)
	f.end()

	if len(c.Mounts) > 0 {
		f.begin("uhyve,mounts")
		f.text("mounts", c.Mounts...)
		f.end()
	}

	f.begin("cpus")
	f.u32("#address-cells", 1)
	f.u32("#size-cells", 0)
	for i := range c.CPUs {
		f.begin(fmt.Sprintf("cpu@%x", i))
		f.text("device_type", "cpu")
		f.u32("reg", uint32(i))
		f.end()
	}
	f.end()

	if c.TSCKHz != 0 {
		f.begin("hermit,tsc")
		f.u32("khz", c.TSCKHz)
		f.end()
	}

	f.begin("chosen")
	f.text("bootargs", args)
	if l.InitrdEnd != 0 {
		f.u64("linux,initrd-start", l.Initrd)
		f.u64("linux,initrd-end", l.InitrdEnd)
		f.reserve(l.Initrd, alignUp(l.InitrdEnd, pageSize)-l.Initrd)
	}
	f.end()
	f.end()
	return f.blob()
}

// treeSize returns the most that the device tree can take, whatever the layout and the
// frequency will be.
func (c *Config) treeSize() (uint64, error) {
	most := *c
	most.TSCKHz = 1
	l := Layout{Base: areas[3].end, End: areas[3].end} // as many digits as can be
	if len(c.Initrd) > 0 {
		l.InitrdEnd = 1
	}
	b, err := most.tree(&l)
	return uint64(len(b)), err
}
