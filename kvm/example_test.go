package kvm_test

import (
	"fmt"
	"log"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/kvm"
)

// A machine with one page of memory, whose guest writes a letter to a port.
func Example() {
	must := func(err error) {
		if err != nil {
			log.Fatal(err)
		}
	}
	runtime.LockOSThread()
	sys, err := kvm.Open("")
	must(err)
	defer sys.Close()
	vm, err := sys.CreateVM()
	must(err)
	defer vm.Close()

	mem, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	must(err)
	copy(mem, "\xb0A\xe6\x10\xf4") // mov $'A', %al; out %al, $0x10; hlt
	region := kvm.Region(0, 0, 0, mem)
	must(vm.SetUserMemoryRegion(&region))

	vcpu, err := vm.CreateVCPU(0)
	must(err)
	defer vcpu.Close()
	var s kvm.Sregs
	must(vcpu.GetSregs(&s))
	s.CS.Base, s.CS.Selector = 0, 0
	must(vcpu.SetSregs(&s))
	must(vcpu.SetRegs(&kvm.Regs{RFLAGS: 2}))

	for {
		if errno := vcpu.Run(); errno == syscall.EINTR {
			continue
		} else if errno != 0 {
			log.Fatal(errno)
		}
		switch reason := vcpu.ExitReason(); reason {
		case kvm.EXIT_IO:
			fmt.Printf("port %#x: %s\n", vcpu.IO().Port, vcpu.IOData())
		case kvm.EXIT_HLT:
			return
		default:
			log.Fatal(reason)
		}
	}
}
