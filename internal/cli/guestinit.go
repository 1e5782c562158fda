package cli

import (
	"fmt"
	"os"

	"github.com/isthmus-fs/isthmus/internal/lab"
)

// isGuestInit reports whether the program was started inside a guest, or next
// to one, by `isthmus try`, rather than by a user.
func isGuestInit(args []string) bool { return lab.IsInit(os.Getpid(), args) }

// guestInit does what `isthmus try` started the program for. In a guest it is
// the first process and ends by powering the guest off.
func guestInit([]string) int {
	lab.MaybeInit()
	fmt.Fprintln(os.Stderr, "isthmus: this is no guest")
	return exitFailure
}
