package main

import "testing"

func TestParseHead(t *testing.T) {
	for _, c := range []struct {
		name, answer   string
		status, length int
	}{
		{"nothing yet", "", 0, -1},
		{"within the head", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", 0, -1},
		{"length in any case", "HTTP/1.1 200 OK\r\ncontent-LENGTH: 2\r\n\r\n", 200, 38 + 2},
		{"an error", "HTTP/1.1 503 Busy\r\nContent-Length:0\r\n\r\n", 503, 39},
		{"no body", "HTTP/1.1 204 No Content\r\n\r\n", 204, 27},
		{"a chunk is missing", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", 200, -1},
		{"all chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 200, 58},
		{"no length but a number", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", 0, 38},
	} {
		status, length := parseHead([]byte(c.answer))
		if status != c.status || length != c.length {
			t.Errorf("%s: got %d, %d, want %d, %d", c.name, status, length, c.status, c.length)
		}
	}
}

func TestQuantiles(t *testing.T) {
	latencies := make([]int64, 1000)
	for i := range latencies {
		latencies[i] = int64(1000-i) * 1e6
	}
	seen := newReport(latencies, nil, 0, 1e9)
	for name, want := range map[string]float64{"p50": 0.501, "p99": 0.991, "max": 1} {
		if seen.Latency[name] != want {
			t.Errorf("%s is %g, want %g", name, seen.Latency[name], want)
		}
	}
}
