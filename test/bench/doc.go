// Package bench measures the running program from outside, as `make bench` prints it: what authentication adds to a tool
// call, how long a refresh takes beside one durable write of the store, how fast clients register, how soon a function
// that has just been started takes its first event, and how soon a progress notification is with the client. Figures of
// one run compare with each other only, so that what is compared runs interleaved on the same machine.
package bench
