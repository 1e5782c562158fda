// Package metrics shows what a daemon counts to Prometheus: GET /metrics over HTTP, in
// the text format, at an address of the host itself.
//
// Each scrape asks the daemon anew ([Source]), which may be another process: the one that
// serves guests is closed in and has no network. Nothing is kept between scrapes.
//
// # Trust
//
// HTTP here has no encryption and asks nobody for a password; so [Listen] takes only addresses
// that other hosts cannot reach. Every user of this host can read the metrics. They name the
// paths of mounts in the guest, and neither files nor sources.
//
// # Concurrency
//
// A Source is asked by several goroutines at once. Scrapes are bounded in number and
// time.
package metrics
