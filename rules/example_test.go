package rules_test

import (
	"fmt"
	"log"
	"os"

	"github.com/isthmus-fs/isthmus/passthrough"
	"github.com/isthmus-fs/isthmus/rules"
	"github.com/isthmus-fs/isthmus/vfs"
)

// A directory is shared read-only, with its owners moved into the range of a
// user's subordinate ids and all attributes below a prefix.
func Example() {
	dir, err := os.MkdirTemp("", "rules-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chown(dir, 100000, 100000); err != nil {
		log.Fatal(err)
	}
	host, err := passthrough.New(passthrough.Config{Path: dir, Xattr: true})
	if err != nil {
		log.Fatal(err)
	}
	defer host.Close()

	var ids rules.IDMap
	if err := ids.Add("map:0:100000:65536"); err != nil {
		log.Fatal(err)
	}
	xattrs, err := rules.ParseXattrMap(":map::user.virtiofs.:")
	if err != nil {
		log.Fatal(err)
	}
	var fs vfs.FileSystem = host
	fs = rules.MapXattrs(fs, xattrs)
	fs = rules.TranslateIDs(fs, &ids, &ids)
	fs = rules.ReadOnly(fs)

	// From here on fs is for a door, such as package virtiofs.
	r := &vfs.Request{}
	var a vfs.AttrOut
	if errno := fs.Getattr(r, vfs.Root, vfs.NoHandle, &a); errno != 0 {
		log.Fatal(errno)
	}
	fmt.Println("the root belongs to", a.Attr.UID)
	name, _ := vfs.MakeName("new")
	fmt.Println("mkdir:", fs.Mkdir(r, vfs.Root, name, 0o755, new(vfs.Entry)))
	fmt.Println(ids.Add("guest:10:0:1"))
	// Output:
	// the root belongs to 0
	// mkdir: read-only file system
	// id map "guest:10:0:1": the rule cannot hold: the guest ids 10 to 10 have a rule already
}
