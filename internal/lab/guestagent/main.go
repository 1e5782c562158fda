// Command guestagent is the first process of a guest and nothing else. The
// program isthmus does the same when it is started as one; this one is for
// tests, whose own program may not be linked statically.
package main

import (
	"fmt"
	"os"

	"github.com/isthmus-fs/isthmus/internal/lab"
)

func main() {
	lab.MaybeInit()
	fmt.Fprintln(os.Stderr, "guestagent is the first process of a guest of isthmus; there is no other use for it")
	os.Exit(2)
}
