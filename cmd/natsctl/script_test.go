package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/agner-go/agner/internal/testserver"
)

// patience is far beyond what anything here takes, for machines under load.
const patience = 30 * time.Second

// TestScripts runs testdata/*.txtar, each against a server of its own at
// $NATS_URL, with no home and no contexts but those that it makes.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			env.Setenv("NO_COLOR", "1")
			b := &backdrop{t: env.T().(testing.TB), env: env}
			env.Values[backdropKey{}] = b
			env.Defer(b.end)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"server":    cmdServer,
			"shop":      cmdShop,
			"declares":  cmdDeclares,
			"raw":       cmdRaw,
			"remove":    cmdRemove,
			"restart":   cmdRestart,
			"watched":   cmdWatched,
			"occupy":    cmdOccupy,
			"fails":     cmdFails,
			"start":     cmdStart,
			"await":     cmdAwait,
			"interrupt": cmdInterrupt,
			"readme":    cmdReadme,
			"dead":      cmdDead,
			"ended":     cmdEnded,
			"stored":    cmdStored,
		},
	})
}

// backdrop is what one script has in this process: servers, services, and the
// programs that it started.
type backdrop struct {
	t    testing.TB
	env  *testscript.Env
	srv  *testserver.Server
	nc   *nats.Conn
	stop []func()

	programs map[string]*program
}

type backdropKey struct{}

func of(ts *testscript.TestScript) *backdrop { return ts.Value(backdropKey{}).(*backdrop) }

func (b *backdrop) end() {
	for _, p := range b.programs {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.done
	}
	for i := len(b.stop) - 1; i >= 0; i-- {
		b.stop[i]()
	}
}

// server [FILE USER PASSWORD] starts a server, with the configuration of a file
// in which that user may do what the script needs, and puts its address into
// $NATS_URL.
func cmdServer(ts *testscript.TestScript, _ bool, args []string) {
	b := of(ts)
	opts := []testserver.Option{testserver.Listen()}
	if len(args) == 3 {
		opts = append(opts, testserver.Conf(ts.ReadFile(args[0])), testserver.Client(nats.UserInfo(args[1], args[2])))
	}
	s := testserver.Start(b.t, opts...)
	b.srv, b.nc = s, s.Connect(b.t)
	ts.Setenv("NATS_URL", s.URL())
}

// raw SUBJECT TEXT [HEADER:VALUE...] publishes a message that nobody checks.
func cmdRaw(ts *testscript.TestScript, _ bool, args []string) {
	m := &nats.Msg{Subject: args[0], Data: []byte(args[1]), Header: nats.Header{}}
	for _, h := range args[2:] {
		name, value, _ := strings.Cut(h, ":")
		m.Header[name] = []string{value}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := of(ts).nc.RequestMsgWithContext(ctx, m); err != nil {
		ts.Fatalf("publish %s: %v", args[0], err)
	}
}

// remove STREAM deletes a stream.
func cmdRemove(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	js, err := jetstream.New(of(ts).nc)
	ts.Check(err)
	ts.Check(js.DeleteStream(ctx, args[0]))
}

// dead N waits until DEAD holds so many messages.
func cmdDead(ts *testscript.TestScript, _ bool, args []string) {
	b := of(ts)
	js, err := jetstream.New(b.nc)
	ts.Check(err)
	testserver.Eventually(b.t, patience, func() error {
		s, err := js.Stream(b.t.Context(), "DEAD")
		if err == nil && strconv.FormatUint(s.CachedInfo().State.Msgs, 10) != args[0] {
			err = fmt.Errorf("%d letters", s.CachedInfo().State.Msgs)
		}
		return err
	}, "%s dead letters", args[0])
}

// stored STREAM prints the bodies of all messages of a stream.
func cmdStored(ts *testscript.TestScript, _ bool, args []string) {
	b := of(ts)
	js, err := jetstream.New(b.nc)
	ts.Check(err)
	s, err := js.Stream(b.t.Context(), args[0])
	ts.Check(err)
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(b.t.Context(), seq)
		ts.Check(err)
		_, _ = fmt.Fprintf(ts.Stdout(), "%s\n", m.Data) // a buffer
	}
}

// restart stops the server and starts it again on its port.
func cmdRestart(ts *testscript.TestScript, _ bool, _ []string) { of(ts).srv.Restart(of(ts).t) }

// watched STREAM waits until somebody has a consumer on a stream.
func cmdWatched(ts *testscript.TestScript, _ bool, args []string) {
	b := of(ts)
	js, err := jetstream.New(b.nc)
	ts.Check(err)
	testserver.Eventually(b.t, patience, func() error {
		s, err := js.Stream(b.t.Context(), args[0])
		if err == nil && s.CachedInfo().State.Consumers == 0 {
			err = errors.New("no consumers")
		}
		return err
	}, "stream %s is watched", args[0])
}

// occupy NAME takes a port whose successor is free, and puts both into the
// environment as $NAME and $NAME_NEXT.
func cmdOccupy(ts *testscript.TestScript, _ bool, args []string) {
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		port := l.Addr().(*net.TCPAddr).Port
		next, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port+1))
		if err != nil {
			ts.Check(l.Close())
			continue
		}
		ts.Check(next.Close())
		of(ts).stop = append(of(ts).stop, func() { _ = l.Close() })
		ts.Setenv(args[0], strconv.Itoa(port))
		ts.Setenv(args[0]+"_NEXT", strconv.Itoa(port+1))
		return
	}
	ts.Fatalf("found no port with a free one after it")
}

// fails CODE PROGRAM ARGS... runs a program that must end with that exit code.
func cmdFails(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		ts.Fatalf("%s: %v, want exit code %s", strings.Join(args[1:], " "), err, args[0])
	}
	if got := strconv.Itoa(exit.ExitCode()); got != args[0] {
		ts.Fatalf("%s: exit code %s, want %s: %v", strings.Join(args[1:], " "), got, args[0], ts.ReadFile("stderr"))
	}
}

// program is a program in the background, which writes into NAME.out and
// NAME.err.
type program struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
	out  [2]string // its files
}

// start NAME PATTERN PROGRAM ARGS... runs a program in the background and waits
// until it has written the pattern.
func cmdStart(ts *testscript.TestScript, _ bool, args []string) {
	b := of(ts)
	name := args[0]
	p := &program{done: make(chan struct{}), out: [2]string{ts.MkAbs(name + ".out"), ts.MkAbs(name + ".err")}}
	path, err := exec.LookPath(args[2])
	ts.Check(err)
	p.cmd = exec.Command(path, args[3:]...)
	p.cmd.Env, p.cmd.Dir = environ(ts), ts.Getenv("WORK")
	stdout, err := os.Create(p.out[0])
	ts.Check(err)
	stderr, err := os.Create(p.out[1])
	ts.Check(err)
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr
	ts.Check(p.cmd.Start())
	ts.Check(errors.Join(stdout.Close(), stderr.Close())) // the program has its own
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if b.programs == nil {
		b.programs = map[string]*program{}
	}
	b.programs[name] = p
	b.awaitOutput(ts, name, args[1])
}

// environ is the script's, as far as programs under test look at it.
func environ(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{
		"PATH", "HOME", "TMPDIR", "XDG_CONFIG_HOME", "NO_COLOR", "NATS_URL", "NATS_CREDS", "NATS_CONTEXT", "GOCOVERDIR",
	} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// await NAME PATTERN waits until a program has written the pattern.
func cmdAwait(ts *testscript.TestScript, _ bool, args []string) {
	of(ts).awaitOutput(ts, args[0], args[1])
}

func (b *backdrop) awaitOutput(ts *testscript.TestScript, name, pattern string) {
	p := b.programs[name]
	re := regexp.MustCompile(pattern)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(patience); ; <-tick.C {
		over := false
		select {
		case <-p.done:
			over = true
		default:
		}
		var written strings.Builder
		for _, file := range p.out {
			content, err := os.ReadFile(file)
			ts.Check(err)
			written.Write(content)
		}
		text := written.String()
		switch {
		case re.MatchString(text):
			return
		case over:
			ts.Fatalf("%s ended without %q: %v\n%s", name, pattern, p.err, text)
		case time.Now().After(limit):
			ts.Fatalf("%s did not write %q:\n%s", name, pattern, text)
		}
	}
}

// interrupt NAME CODE sends Ctrl-C, and waits for the end with that exit code.
func cmdInterrupt(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(of(ts).programs[args[0]].cmd.Process.Signal(syscall.SIGINT))
	cmdEnded(ts, false, args)
}

// ended NAME CODE waits for the end with that exit code.
func cmdEnded(ts *testscript.TestScript, _ bool, args []string) {
	p := of(ts).programs[args[0]]
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-p.done:
	case <-limit.C:
		ts.Fatalf("%s did not end", args[0])
	}
	if got := strconv.Itoa(p.cmd.ProcessState.ExitCode()); got != args[1] {
		ts.Fatalf("%s: exit code %s, want %s", args[0], got, args[1])
	}
}
