package gdb_test

import (
	"context"
	"log"

	"github.com/isthmus-fs/isthmus/vmm"
	"github.com/isthmus-fs/isthmus/vmm/gdb"
)

// debug runs a machine whose Config has Debug under the control of a debugger.
func debug(ctx context.Context, m *vmm.Machine, offset uint64) (vmm.Outcome, error) {
	l, err := gdb.Listen(0)
	if err != nil {
		return vmm.Outcome{}, err
	}
	log.Printf("target remote %v", l.Addr())
	served := make(chan error, 1)
	go func() {
		served <- l.Serve(ctx, gdb.Machine(m, offset), func(err error) { log.Print(err) })
	}()
	outcome := m.Run(ctx)
	return outcome, <-served // before the machine is closed
}

func Example() {
	ram, err := vmm.NewRAM(vmm.RAMConfig{Size: 1 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer ram.Close()
	m, err := vmm.New(&vmm.Config{CPUs: 2, Memory: []*vmm.RAM{ram}, Debug: true})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	outcome, err := debug(context.Background(), m, 0)
	log.Print(outcome, err)
}
