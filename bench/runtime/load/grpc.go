package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

const method = "/inference.GRPCInferenceService/ModelInfer"

// largestAnswer is far above what any model here answers.
const largestAnswer = 64 << 20

// raw passes encoded messages through: what is measured is the server, not this program's protobuf.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = raw{}

func dial(o options) ([]*grpc.ClientConn, func(), error) {
	var connections []*grpc.ClientConn
	closeAll := func() {
		for _, connection := range connections {
			connection.Close()
		}
	}
	for range o.connections {
		connection, err := grpc.NewClient(
			"passthrough:///"+o.address,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{}), grpc.MaxCallRecvMsgSize(largestAnswer)),
		)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		connections = append(connections, connection)
	}
	return connections, closeAll, nil
}

// sendGRPC runs `concurrency` callers that share the connections; at a fixed rate whichever is free takes the next request that is due.
func sendGRPC(o options) (report, error) {
	connections, closeAll, err := dial(o)
	if err != nil {
		return report{}, err
	}
	defer closeAll()
	for _, connection := range connections {
		if _, err := call(connection, o.requests[0], o.timeout); err != nil {
			return report{}, fmt.Errorf("the first request of a connection failed: %w", err)
		}
	}
	var (
		mutex   sync.Mutex
		all     []int64
		errors  = map[string]int{}
		ticket  atomic.Int64
		callers sync.WaitGroup
	)
	start := time.Now()
	stop := start.Add(o.duration)
	for caller := range o.concurrency {
		callers.Go(func() {
			connection := connections[caller%len(connections)]
			own := make([]int64, 0, 1<<14)
			failed := map[string]int{}
			for {
				number := ticket.Add(1) - 1
				due := time.Now()
				if o.rate > 0 {
					due = start.Add(time.Duration(float64(number) / o.rate * 1e9))
				}
				if !due.Before(stop) {
					break
				}
				time.Sleep(time.Until(due))
				if _, err := call(connection, o.requests[int(number)%len(o.requests)], o.timeout); err != nil {
					failed[status.Code(err).String()]++
					continue
				}
				own = append(own, int64(time.Since(due)))
			}
			mutex.Lock()
			defer mutex.Unlock()
			all = append(all, own...)
			for name, count := range failed {
				errors[name] += count
			}
		})
	}
	callers.Wait()
	return newReport(all, errors, 0, time.Since(start)), nil
}

func call(connection *grpc.ClientConn, request []byte, timeout time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var answer []byte
	err := connection.Invoke(ctx, method, &request, &answer)
	return answer, err
}

// collectAnswers sends every request once, all at the same time, and writes the answers in the order of the requests.
func collectAnswers(o options, path string) error {
	connections, closeAll, err := dial(o)
	if err != nil {
		return err
	}
	defer closeAll()
	answers := make([][]byte, len(o.requests))
	failures := make([]error, len(o.requests))
	var callers sync.WaitGroup
	for i, request := range o.requests {
		callers.Go(func() {
			answers[i], failures[i] = call(connections[i%len(connections)], request, o.timeout)
		})
	}
	callers.Wait()
	var out []byte
	for i, answer := range answers {
		if failures[i] != nil {
			return fmt.Errorf("request %d: %w", i, failures[i])
		}
		out = binary.LittleEndian.AppendUint32(out, uint32(len(answer)))
		out = append(out, answer...)
	}
	return os.WriteFile(path, out, 0o600)
}
