package virtq_test

import (
	"fmt"

	"github.com/isthmus-fs/isthmus/oslib"
	"github.com/isthmus-fs/isthmus/virtq"
	"github.com/isthmus-fs/isthmus/virtq/virtqtest"
)

// A device that answers each request with its bytes in reverse.
func Example() {
	mem, err := virtqtest.NewMemory(virtqtest.Segment{GPA: 0, Size: 64 << 10})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer mem.Close()
	driver, err := virtqtest.New(mem, virtqtest.Config{Size: 8, EventIdx: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer driver.Close()
	view, err := mem.View()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer view.Release()
	ring, err := driver.Ring(view)
	if err != nil {
		fmt.Println(err)
		return
	}

	question, answer := virtqtest.Buf{GPA: 0x8000, Len: 7}, virtqtest.Buf{GPA: 0x9000, Len: 7}
	copy(mem.Bytes(question), "isthmus")
	driver.AddChain([]virtqtest.Buf{question}, []virtqtest.Buf{answer})
	driver.Publish()

	var c virtq.Chain
	fault := oslib.CatchFault(func() {
		for {
			ok, err := ring.Queue.Pop(ring.Mem, &c)
			if err != nil {
				ring.Fail()
			}
			if !ok {
				break
			}
			b := make([]byte, min(c.InLen, 64))
			oslib.IovRead(b, c.In)
			for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
				b[i], b[j] = b[j], b[i]
			}
			n, _ := oslib.IovWrite(c.Out, b)
			ring.Queue.Push(c.Head, uint32(n))
		}
		if ring.Queue.Flush() {
			ring.Interrupt()
		}
	})
	if fault != nil {
		fmt.Println(fault)
	}

	_, written, ok := driver.Poll()
	fmt.Println(ok, written, string(mem.Bytes(answer)))
	// Output: true 7 sumhtsi
}
