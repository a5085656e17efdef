package main

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const overtime = time.Second

// sendHTTP drives all connections from one thread with epoll and a timer of the kernel: Go's own timers wake it only to the
// millisecond, which would send tens of requests at once.
func sendHTTP(o options) (report, error) {
	loop, err := newHTTPLoop(o)
	if err != nil {
		return report{}, err
	}
	defer loop.close()
	return loop.run()
}

type connection struct {
	fd      int
	due     int64
	request []byte
	answer  []byte
	busy    bool
}

type httpLoop struct {
	options
	epoll, timer int
	idle         []*connection
	byFd         map[int32]*connection
	sockaddr     unix.SockaddrInet4
	start, stop  int64
	next         int
	latencies    []int64
	errors       map[string]int
	answered     int64
	buffer       []byte
}

func newHTTPLoop(o options) (*httpLoop, error) {
	address, err := net.ResolveTCPAddr("tcp4", o.address)
	if err != nil {
		return nil, err
	}
	l := &httpLoop{options: o, byFd: map[int32]*connection{}, errors: map[string]int{}, buffer: make([]byte, 1<<18)}
	l.sockaddr.Port = address.Port
	copy(l.sockaddr.Addr[:], address.IP.To4())
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	if l.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return nil, err
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(l.timer)}
	if err = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.timer, &event); err != nil {
		return nil, err
	}
	for range o.connections {
		c, err := l.open()
		if err != nil {
			l.close()
			return nil, err
		}
		l.idle = append(l.idle, c)
	}
	return l, nil
}

func (l *httpLoop) open() (*connection, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err = unix.Connect(fd, &l.sockaddr); err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err == nil {
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
		err = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connect to %s: %w", l.address, err)
	}
	c := &connection{fd: fd}
	l.byFd[int32(fd)] = c
	return c, nil
}

func (l *httpLoop) close() {
	for fd := range l.byFd {
		unix.Close(int(fd))
	}
	unix.Close(l.timer)
	unix.Close(l.epoll)
}

// dueAt is the instant of request k; without a rate every request is due when a connection is free for it.
func (l *httpLoop) dueAt(k int) int64 {
	if l.rate == 0 {
		return monotonic()
	}
	return l.start + int64(float64(k)/l.rate*1e9)
}

func (l *httpLoop) run() (report, error) {
	l.start = monotonic()
	l.stop = l.start + int64(l.duration)
	events := make([]unix.EpollEvent, 256)
	for {
		if err := l.sendDue(); err != nil {
			return report{}, err
		}
		now := monotonic()
		busy := len(l.byFd) - len(l.idle)
		if now >= l.stop && (busy == 0 || now >= l.stop+int64(overtime+l.timeout)) {
			break
		}
		ready, err := unix.EpollWait(l.epoll, events, 100)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return report{}, err
		}
		for _, event := range events[:ready] {
			if event.Fd == int32(l.timer) {
				var ticks [8]byte
				unix.Read(l.timer, ticks[:])
				continue
			}
			if err := l.progress(l.byFd[event.Fd], event.Events); err != nil {
				return report{}, err
			}
		}
	}
	elapsed := max(l.stop, l.answered) - l.start
	if lost := len(l.byFd) - len(l.idle); lost > 0 {
		l.errors["timeout"] += lost
	}
	unsent := 0
	for l.rate > 0 && l.dueAt(l.next) < l.stop {
		l.next++
		unsent++
	}
	return newReport(l.latencies, l.errors, unsent, time.Duration(elapsed)), nil
}

// sendDue writes what is due on the connections that are free and sets the timer for what comes next.
func (l *httpLoop) sendDue() error {
	for len(l.idle) > 0 {
		due, now := l.dueAt(l.next), monotonic()
		// What was due in time is still sent for a while: leaving out the requests that waited longest would flatter the server.
		if due >= l.stop || now >= l.stop+int64(overtime) {
			return nil
		}
		if due > now {
			at := unix.ItimerSpec{Value: unix.NsecToTimespec(due)}
			return unix.TimerfdSettime(l.timer, unix.TFD_TIMER_ABSTIME, &at, nil)
		}
		c := l.idle[0]
		l.idle = l.idle[1:]
		c.busy, c.due, c.answer = true, due, c.answer[:0]
		c.request = l.requests[l.next%len(l.requests)]
		l.next++
		if err := l.write(c); err != nil {
			return err
		}
	}
	return nil
}

func (l *httpLoop) write(c *connection) error {
	for len(c.request) > 0 {
		n, err := unix.Write(c.fd, c.request)
		if err == unix.EAGAIN {
			return l.watch(c, unix.EPOLLIN|unix.EPOLLOUT)
		}
		if err != nil {
			return l.replace(c, "write")
		}
		c.request = c.request[n:]
	}
	return nil
}

func (l *httpLoop) watch(c *connection, events uint32) error {
	event := unix.EpollEvent{Events: events, Fd: int32(c.fd)}
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, c.fd, &event)
}

func (l *httpLoop) progress(c *connection, events uint32) error {
	if events&unix.EPOLLOUT != 0 {
		if err := l.write(c); err != nil {
			return err
		}
		if len(c.request) == 0 {
			if err := l.watch(c, unix.EPOLLIN); err != nil {
				return err
			}
		}
	}
	if events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) == 0 {
		return nil
	}
	n, err := unix.Read(c.fd, l.buffer)
	if err == unix.EAGAIN {
		return nil
	}
	if err != nil || n == 0 {
		return l.replace(c, "closed")
	}
	c.answer = append(c.answer, l.buffer[:n]...)
	status, length := parseHead(c.answer)
	if length < 0 || len(c.answer) < length {
		return nil
	}
	now := monotonic()
	if status == 200 {
		l.latencies = append(l.latencies, now-c.due)
	} else {
		l.errors[strconv.Itoa(status)]++
	}
	c.busy, l.answered = false, now
	l.idle = append(l.idle, c)
	return nil
}

// replace counts a broken connection and opens another, so that the number stays.
func (l *httpLoop) replace(c *connection, why string) error {
	unix.Close(c.fd)
	delete(l.byFd, int32(c.fd))
	if c.busy {
		l.errors[why]++
	} else {
		for i, other := range l.idle {
			if other == c {
				l.idle = append(l.idle[:i:i], l.idle[i+1:]...)
				break
			}
		}
	}
	fresh, err := l.open()
	if err != nil {
		return err
	}
	l.idle = append(l.idle, fresh)
	return nil
}

var (
	headEnd       = []byte("\r\n\r\n")
	contentLength = []byte("\r\ncontent-length:")
	chunked       = []byte("\r\ntransfer-encoding: chunked")
	lastChunk     = []byte("\r\n0\r\n\r\n")
)

// parseHead returns the status and the length of the whole answer, -1 while that is not known.
func parseHead(answer []byte) (int, int) {
	end := bytes.Index(answer, headEnd)
	if end < 12 {
		return 0, -1
	}
	status, err := strconv.Atoi(string(answer[9:12]))
	if err != nil {
		return 0, len(answer)
	}
	head := bytes.ToLower(answer[:end+2])
	body := end + len(headEnd)
	if at := bytes.Index(head, contentLength); at >= 0 {
		value := head[at+len(contentLength):]
		length, err := strconv.Atoi(string(bytes.TrimSpace(value[:bytes.IndexByte(value, '\r')])))
		if err != nil {
			return 0, len(answer)
		}
		return status, body + length
	}
	if bytes.Contains(head, chunked) && !bytes.HasSuffix(answer, lastChunk) {
		return status, -1
	}
	return status, len(answer)
}

func monotonic() int64 {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano()
}
