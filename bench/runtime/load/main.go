// Command load sends prepared requests at a fixed rate, or as fast as answers come, and prints one JSON object with what it saw.
//
//	load http -address 127.0.0.1:8080 -requests FILE -connections 128 -rate 5000 -seconds 5
//	load grpc -address 127.0.0.1:8081 -requests FILE -connections 8 -concurrency 64 -seconds 5
//	load grpc -address 127.0.0.1:8081 -requests FILE -concurrency 64 -answers FILE
//
// FILE holds the requests one after the other, each behind its length (uint32, little-endian): for http the whole request with its
// headers, for grpc the encoded ModelInferRequest. At a fixed rate request k is due at k/rate, and its latency counts from that
// instant: a server that stalls is charged for the requests that had to wait (no coordinated omission).
package main

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"time"
)

type options struct {
	address     string
	requests    [][]byte
	connections int
	concurrency int
	rate        float64
	duration    time.Duration
	timeout     time.Duration
}

// report is what one run saw. Latencies are in seconds.
type report struct {
	Requests int                `json:"requests"`
	Errors   map[string]int     `json:"errors"`
	Unsent   int                `json:"unsent"`
	Seconds  float64            `json:"seconds"`
	Latency  map[string]float64 `json:"latency"`
}

func main() {
	// It shares the cores with the server: memory is cheap, collecting it is not.
	debug.SetGCPercent(800)
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 || (arguments[0] != "http" && arguments[0] != "grpc") {
		return fmt.Errorf("the first argument must be http or grpc")
	}
	flags := flag.NewFlagSet("load "+arguments[0], flag.ContinueOnError)
	var o options
	flags.StringVar(&o.address, "address", "", "host:port of the server")
	file := flags.String("requests", "", "file of requests")
	answers := flags.String("answers", "", "send each request once and write the answers to this file (grpc)")
	flags.IntVar(&o.connections, "connections", 1, "TCP connections")
	flags.IntVar(&o.concurrency, "concurrency", 1, "requests in flight at most (grpc; http has one a connection)")
	flags.Float64Var(&o.rate, "rate", 0, "requests a second; 0 is as fast as answers come")
	seconds := flags.Float64("seconds", 3, "how long")
	timeout := flags.Float64("timeout", 10, "seconds until a request counts as lost")
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	o.duration, o.timeout = duration(*seconds), duration(*timeout)
	var err error
	if o.requests, err = readFrames(*file); err != nil {
		return err
	}
	if arguments[0] == "grpc" && *answers != "" {
		return collectAnswers(o, *answers)
	}
	send := sendHTTP
	if arguments[0] == "grpc" {
		send = sendGRPC
	}
	seen, err := send(o)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(seen)
}

func duration(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second))
}

func readFrames(path string) ([][]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var frames [][]byte
	for len(data) > 0 {
		if len(data) < 4 || len(data)-4 < int(binary.LittleEndian.Uint32(data)) {
			return nil, fmt.Errorf("%s ends within a frame", path)
		}
		end := 4 + int(binary.LittleEndian.Uint32(data))
		frames = append(frames, data[4:end])
		data = data[end:]
	}
	if len(frames) == 0 {
		return nil, fmt.Errorf("%s holds no request", path)
	}
	return frames, nil
}

// newReport sorts the latencies, which are in nanoseconds, in place.
func newReport(latencies []int64, errors map[string]int, unsent int, elapsed time.Duration) report {
	slices.Sort(latencies)
	quantiles := map[string]float64{}
	for name, share := range map[string]float64{"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1} {
		if len(latencies) > 0 {
			quantiles[name] = float64(latencies[min(int(share*float64(len(latencies))), len(latencies)-1)]) / 1e9
		}
	}
	return report{len(latencies), errors, unsent, elapsed.Seconds(), quantiles}
}
