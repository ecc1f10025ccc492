// SPDX-License-Identifier: Apache-2.0

// The Agent's own concentrator on the spans that crosscheck/spans.c wrote, compared with the payloads our statistics
// made of them: every group of one must be a group of the other, with equal counts and equal bytes of sketches.
//
//	concentrator SPANS.json PAYLOADS
//
// SPANS.json: one JSON object a line. PAYLOADS: msgpack bodies of /v0.6/stats, each behind its length in 8 bytes.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"
	"time"

	pb "github.com/DataDog/datadog-agent/pkg/proto/pbgo/trace"
	"github.com/DataDog/datadog-agent/pkg/trace/stats"
)

type span struct {
	Env      string
	Origin   string
	Service  string
	Name     string
	Resource string
	Type     string
	Parent   uint64
	Start    int64
	Duration int64
	Error    int32
	Meta     map[string]string
	Metrics  map[string]float64
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// The Agent adds durations up as floating-point numbers.
func sameDuration(a, b uint64) bool {
	d := float64(a) - float64(b)
	return d*d <= 1+float64(b)*float64(b)*1e-24
}

func key(env string, start uint64, g *pb.ClientGroupedStats) string {
	tags := append([]string{}, g.PeerTags...)
	sort.Strings(tags)
	return fmt.Sprintf("%s|%d|%s|%s|%s|%s|%s|%d|%v|%s|%s|%s|%s|%d|%s|%s", env, start, g.Service, g.Name, g.Resource,
		g.Type, g.SpanKind, g.HTTPStatusCode, g.Synthetics, strings.Join(tags, ","), g.GRPCStatusCode, g.HTTPMethod,
		g.HTTPEndpoint, g.IsTraceRoot, g.ServiceSource, strings.Join(g.AdditionalMetricTags, ","))
}

func expected(path string, now time.Time) map[string]*pb.ClientGroupedStats {
	peers := []string{"_dd.base_service", "db.name", "db.system", "out.host", "peer.service"}
	conc := stats.NewSpanConcentrator(&stats.SpanConcentratorConfig{ComputeStatsBySpanKind: true,
		BucketInterval: int64(10 * time.Second), WholeKeyCardinalityLimit: 0}, now.Add(-10*time.Second))
	f, err := os.Open(path)
	must(err)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s span
		must(json.Unmarshal(lines.Bytes(), &s))
		counted, ok := conc.NewStatSpanWithConfig(stats.StatSpanConfig{Service: s.Service, Resource: s.Resource,
			Name: s.Name, Type: s.Type, ParentID: s.Parent, Start: s.Start, Duration: s.Duration, Error: s.Error,
			Meta: s.Meta, Metrics: s.Metrics, PeerTags: peers, AdditionalMetricTagKeys: []string{"tier"},
			HTTPMethod: s.Meta["http.method"], HTTPEndpoint: first(s.Meta["http.endpoint"], s.Meta["http.route"])})
		if ok {
			conc.AddSpan(counted, stats.PayloadAggregationKey{Env: s.Env}, "", nil, s.Origin)
		}
	}
	must(lines.Err())
	groups := map[string]*pb.ClientGroupedStats{}
	for _, p := range conc.Flush(now.UnixNano(), true) {
		for _, b := range p.Stats {
			for _, g := range b.Stats {
				groups[key(p.Env, b.Start, g)] = g
			}
		}
	}
	return groups
}

func received(path string) map[string]*pb.ClientGroupedStats {
	groups := map[string]*pb.ClientGroupedStats{}
	data, err := os.ReadFile(path)
	must(err)
	for len(data) > 0 {
		n := binary.LittleEndian.Uint64(data)
		var p pb.ClientStatsPayload
		_, err := p.UnmarshalMsg(data[8 : 8+n])
		must(err)
		data = data[8+n:]
		for _, b := range p.Stats {
			for _, g := range b.Stats {
				k := key(p.Env, b.Start, g)
				if groups[k] != nil {
					fmt.Println("twice:", k)
				}
				groups[k] = g
			}
		}
	}
	return groups
}

func main() {
	stamp, err := os.Stat(os.Args[1])
	must(err)
	want, got := expected(os.Args[1], stamp.ModTime()), received(os.Args[2])
	differ := 0
	say := func(format string, args ...any) {
		if differ++; differ <= 20 {
			fmt.Printf(format+"\n", args...)
		}
	}
	var hits uint64
	for k, w := range want {
		g := got[k]
		hits += w.Hits
		switch {
		case g == nil:
			say("missing: %s", k)
		case g.Hits != w.Hits || g.Errors != w.Errors || !sameDuration(g.Duration, w.Duration) || g.TopLevelHits != w.TopLevelHits:
			say("counts: %s: %d %d %d %d, not %d %d %d %d", k, g.Hits, g.Errors, g.Duration, g.TopLevelHits, w.Hits,
				w.Errors, w.Duration, w.TopLevelHits)
		case !bytes.Equal(g.OkSummary, w.OkSummary) || !bytes.Equal(g.ErrorSummary, w.ErrorSummary):
			say("sketch: %s: %x %x, not %x %x", k, g.OkSummary, g.ErrorSummary, w.OkSummary, w.ErrorSummary)
		}
	}
	for k := range got {
		if want[k] == nil {
			say("too much: %s", k)
		}
	}
	fmt.Printf("%d groups, %d hits, %d differences\n", len(want), hits, differ)
	if differ > 0 || len(want) == 0 {
		os.Exit(1)
	}
}
