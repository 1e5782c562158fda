package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/isthmus-fs/isthmus/internal/control"
)

// Source is the daemon: a *control.Client, or a control.Target in the same process.
type Source interface {
	Version(ctx context.Context) (control.Version, error)
	Stats(ctx context.Context) (*control.Stats, error)
	Mounts(ctx context.Context) ([]control.Mount, error)
}

// Bounds of the server.
const (
	maxScrapes  = 4                // at once; one more gets 503
	maxConns    = 16               // connections at once; others wait
	patience    = 10 * time.Second // for a request, an answer of the source, a client that reads
	idle        = 2 * time.Minute  // for the next request of a connection
	maxHeader   = 16 << 10
	stopTimeout = time.Second // for scrapes under way at the end
)

// Serve serves metrics to what connects to l, which it closes, until ctx ends, and
// returns nil then.
func Serve(ctx context.Context, l net.Listener, source Source, log *slog.Logger) error {
	registry := prometheus.NewRegistry()
	// The registry hands no context to collectors, so each scrape has the server's.
	if err := registry.Register(&collector{ctx: ctx, source: source}); err != nil {
		l.Close()
		return fmt.Errorf("metrics: %w", err)
	}
	scrape := promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:            errorLog{log},
		ErrorHandling:       promhttp.HTTPErrorOnError,
		MaxRequestsInFlight: maxScrapes,
		// Compression costs more than it saves on one host.
		DisableCompression: true,
	})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", scrape)
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: patience,
		ReadTimeout:       patience,
		WriteTimeout:      3 * patience,
		IdleTimeout:       idle,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if server.Shutdown(wait) != nil {
			server.Close()
		}
	})
	err := server.Serve(&limited{Listener: l, slots: make(chan struct{}, maxConns), closed: make(chan struct{})})
	if !stop() {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("metrics: %w", err)
}

// errorLog takes what promhttp has to say about scrapes that failed.
type errorLog struct{ log *slog.Logger }

// Println implements promhttp.Logger.
func (e errorLog) Println(v ...any) {
	e.log.Warn("metrics: a scrape failed", "error", fmt.Sprint(v...))
}
