package main

import (
	"os/exec"
	"syscall"
)

// A process that waits for its next event stands still, as on AWS: what a function has left running when it answered
// goes on with the next event, or never. freeze and thaw fail only for a process that has ended, which is noticed
// elsewhere.
func (p *process) freeze() { _ = p.command.Process.Signal(syscall.SIGSTOP) }
func (p *process) thaw()   { _ = p.command.Process.Signal(syscall.SIGCONT) }

// bind ends the process with this one, however this one ends: a frozen process would not notice. The kernel watches the
// thread that started it.
func bind(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
