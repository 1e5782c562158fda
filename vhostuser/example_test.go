package vhostuser_test

import (
	"context"
	"log"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vhostuser"
)

// A daemon serves one VM after the other until it is told to end.
func Example() {
	var dev vhostuser.Device // for example a *virtiofs.Device

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	l, err := vhostuser.Listen("/run/share.sock", vhostuser.ListenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	for {
		conn, err := l.Accept(ctx)
		if err != nil {
			return
		}
		if err := vhostuser.ServeConn(ctx, conn, dev, vhostuser.Options{}); err != nil {
			log.Print(err)
		}
	}
}
