// Command mangen writes the man pages of isthmus into a directory.
package main

import (
	"log"
	"os"

	"github.com/spf13/cobra/doc"

	"github.com/isthmus-fs/isthmus/internal/cli"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: mangen DIRECTORY")
	}
	dir := os.Args[1]
	if err := os.MkdirAll(dir, 0o755); err != nil {
		log.Fatal(err)
	}
	header := &doc.GenManHeader{Title: "ISTHMUS", Section: "1", Source: "isthmus"}
	root := cli.NewCommand()
	root.DisableAutoGenTag = true
	if err := doc.GenManTree(root, header, dir); err != nil {
		log.Fatal(err)
	}
}
