// Command isthmus gives virtual machines host files.
package main

import (
	"os"

	"github.com/isthmus-fs/isthmus/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args))
}
