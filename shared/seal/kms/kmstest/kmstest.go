// Package kmstest is a stand-in for AWS KMS that speaks its wire protocol (AWS JSON 1.1), for tests and for the local
// stack, where no emulator of KMS is at hand. It encrypts for real, authenticates the encryption context as KMS does,
// and can fail, throttle and rotate. Its keys live in memory: it is no place for anything of value.
package kmstest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

const (
	// KeyARN is the one key that New makes; its id, "00000000-...", serves as well.
	KeyARN = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-4000-8000-000000000000"

	maxPlaintext = 4096 // of Encrypt
	maxRequest   = 64 << 10
)

// Fault is a way to fail.
type Fault string

// The faults, by the error type that AWS gives them.
const (
	None     Fault = ""
	Down     Fault = "KMSInternalException"  // 500
	Throttle Fault = "ThrottlingException"   // 400, as KMS does
	Denied   Fault = "AccessDeniedException" // 400
	Disabled Fault = "DisabledException"     // 400
)

// Server is an http.Handler that serves Encrypt, Decrypt and GenerateDataKey at POST /.
type Server struct {
	mu       sync.Mutex
	material []cipher.AEAD // of the key, the newest last
	fault    Fault
	faults   int // how many requests are left to fail; negative: all
	calls    map[string]int
	contexts []map[string]string
}

// New returns a Server with one key.
func New() *Server {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails
	return NewFrom(secret)
}

// NewFrom is New with known material, so that what one process encrypted opens in the next.
func NewFrom(secret [32]byte) *Server {
	s := &Server{calls: make(map[string]int)}
	s.add(secret)
	return s
}

// Rotate gives the key new material. What was encrypted under the old one still opens, as in KMS.
func (s *Server) Rotate() {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails
	s.add(secret)
}

func (s *Server) add(secret [32]byte) {
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		panic(err) // only a wrong key size can fail
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.material = append(s.material, aead)
}

// Fail makes the next n requests fail, or all until the next call of Fail when n is negative.
func (s *Server) Fail(fault Fault, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.faults = fault, n
}

// Calls is the number of requests for an operation, such as "Decrypt", failed ones included.
func (s *Server) Calls(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[operation]
}

// Contexts are the encryption contexts of all requests, in order.
func (s *Server) Contexts() []map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.contexts)
}

// request has the fields of the three operations that are understood here.
type request struct {
	KeyID             string `json:"KeyId"`
	Plaintext         []byte
	CiphertextBlob    []byte
	EncryptionContext map[string]string
	KeySpec           string
	NumberOfBytes     int
}

type response struct {
	KeyID               string `json:"KeyId"`
	Plaintext           []byte `json:",omitempty"`
	CiphertextBlob      []byte `json:",omitempty"`
	EncryptionAlgorithm string `json:",omitempty"`
	KeyMaterialID       string `json:"KeyMaterialId,omitempty"`
}

// failure is an error of the protocol.
type failure struct {
	status  int
	kind    string
	message string
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out, failed := s.serve(r)
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if failed != nil {
		w.WriteHeader(failed.status)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": failed.kind, "message": failed.message})
		return
	}
	_ = json.NewEncoder(w).Encode(out)
}

func (s *Server) serve(r *http.Request) (*response, *failure) {
	operation, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	if r.Method != http.MethodPost || !ok {
		return nil, &failure{http.StatusNotFound, "UnknownOperationException", ""}
	}
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
		return nil, &failure{http.StatusBadRequest, "MissingAuthenticationTokenException", "Missing Authentication Token"}
	}
	var in request
	if err := json.NewDecoder(io.LimitReader(r.Body, maxRequest)).Decode(&in); err != nil {
		return nil, &failure{http.StatusBadRequest, "SerializationException", ""}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[operation]++
	s.contexts = append(s.contexts, in.EncryptionContext)
	if s.fault != None && s.faults != 0 {
		if s.faults > 0 {
			s.faults--
		}
		status := http.StatusBadRequest
		if s.fault == Down {
			status = http.StatusInternalServerError
		}
		return nil, &failure{status, string(s.fault), "as the test asked for"}
	}
	if in.KeyID != "" && in.KeyID != KeyARN && !strings.HasSuffix(KeyARN, ":key/"+in.KeyID) {
		return nil, &failure{http.StatusBadRequest, "NotFoundException", "Key '" + in.KeyID + "' does not exist"}
	}
	switch operation {
	case "Encrypt":
		if len(in.Plaintext) == 0 || len(in.Plaintext) > maxPlaintext {
			return nil, invalid("1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096")
		}
		return s.encrypt(in, in.Plaintext, false)
	case "GenerateDataKey":
		size := in.NumberOfBytes
		if in.KeySpec == "AES_256" {
			size = 32
		}
		if size < 1 || size > 1024 {
			return nil, invalid("KeySpec must be AES_256, or NumberOfBytes between 1 and 1024")
		}
		plaintext := make([]byte, size)
		_, _ = rand.Read(plaintext)
		return s.encrypt(in, plaintext, true)
	case "Decrypt":
		return s.decrypt(in)
	}
	return nil, &failure{http.StatusBadRequest, "UnknownOperationException", operation}
}

func (s *Server) encrypt(in request, plaintext []byte, reveal bool) (*response, *failure) {
	if in.KeyID == "" {
		return nil, invalid("KeyId is missing")
	}
	n := len(s.material) - 1
	blob := binary.BigEndian.AppendUint32([]byte("kmstest1"), uint32(n))
	blob = s.material[n].Seal(blob, nil, plaintext, associate(in.EncryptionContext))
	out := &response{KeyID: KeyARN, CiphertextBlob: blob}
	if reveal {
		out.Plaintext = plaintext
	} else {
		out.EncryptionAlgorithm = "SYMMETRIC_DEFAULT"
	}
	return out, nil
}

func (s *Server) decrypt(in request) (*response, *failure) {
	// KMS tells a damaged ciphertext, another context and another key's ciphertext apart from nothing: one error for all.
	bad := &failure{http.StatusBadRequest, "InvalidCiphertextException", ""}
	if len(in.CiphertextBlob) < 12 || string(in.CiphertextBlob[:8]) != "kmstest1" {
		return nil, bad
	}
	n := binary.BigEndian.Uint32(in.CiphertextBlob[8:12])
	if int(n) >= len(s.material) {
		return nil, bad
	}
	plaintext, err := s.material[n].Open(nil, nil, in.CiphertextBlob[12:], associate(in.EncryptionContext))
	if err != nil {
		return nil, bad
	}
	return &response{KeyID: KeyARN, Plaintext: plaintext, EncryptionAlgorithm: "SYMMETRIC_DEFAULT"}, nil
}

func invalid(message string) *failure {
	return &failure{http.StatusBadRequest, "ValidationException", message}
}

// associate writes an encryption context unambiguously, in the order of its names.
func associate(context map[string]string) []byte {
	var aad []byte
	for _, name := range slices.Sorted(maps.Keys(context)) {
		aad = fmt.Appendf(aad, "%q=%q;", name, context[name])
	}
	return aad
}
