/* degu_tls.h - TLS by OpenSSL 3 for degu.h - version 0.1.0
   SPDX-License-Identifier: MIT OR 0BSD

   Do this in *one* C or C++ file, and link with -lssl -lcrypto -pthread:
       #define DEGU_IMPLEMENTATION
       #include "degu_tls.h"
   It brings degu.h along.  A program whose implementation of degu.h stands in
   another file says DEGU_TLS_IMPLEMENTATION here instead.

   A server lets in who shows a certificate that its authority has signed:

       static degu_tls tls;
       degu_tls_config files = {0};
       files.cert_file = "/etc/device/server.pem";
       files.key_file = "/etc/device/server.key";
       files.ca_file = "/etc/device/clients.pem";
       if (degu_tls_open_server(&tls, &files))
           puts(degu_tls_why(&tls));
       config.transport = degu_tls_transport(&tls);     // and on as without

   and a client connects to it:

       degu_client_open(&client, "[fe80::1%eth0]:8443", 5000);
       degu_tls_connect(&tls, &client, "device-7.local"); // the one line more

   WHAT IS DECIDED FOR YOU

   There are two profiles, each of one protocol and one cipher, so nobody can
   be talked down to a weaker one:

       DEGU_TLS_1_2 (the default)  ECDHE-RSA-AES256-GCM-SHA384
       DEGU_TLS_1_3                TLS_AES_256_GCM_SHA384

   Both with an ephemeral key on X25519, P-256 or P-384 (with TLS 1.3 first of
   all X25519MLKEM768, from OpenSSL 3.5 on), at OpenSSL's security level 2,
   without compression, renegotiation, resumption, early data or authentication
   behind the handshake.  The protocol above it is http/1.1: who offers others
   only (ALPN) is refused, who offers none is not.  A server without an
   authority and without pins is refused unless it says
   allow_unauthenticated_clients.

   CONVENTIONS are those of degu.h.  Names with degu_priv_ are private.  A
   degu_tls may be used by any number of connections in any threads; all else
   belongs to one thread at a time.  OpenSSL is included by the implementation
   only.  It allocates, as OpenSSL does; nothing global is set up or left. */

#ifndef DEGU_TLS_H
#define DEGU_TLS_H

/* The implementation wants what lies beyond ISO C, as degu.h's does; so in the
   file that holds it this header comes before the system's. */
#if defined(DEGU_TLS_IMPLEMENTATION) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "degu.h"

#if defined(DEGU_NO_SERVER) || defined(DEGU_NO_SOCKETS)
#error "degu_tls.h: needs the sockets and the server of degu.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ======================================================================== */
/* Contexts                                                                 */
/* ======================================================================== */

typedef enum degu_tls_profile {
    DEGU_TLS_1_2 = 0, /* exactly TLS 1.2; a server's key is RSA */
    DEGU_TLS_1_3 = 1, /* exactly TLS 1.3; RSA, ECDSA or Ed25519 */
    DEGU_PRIV_TLS_PROFILE_LAST = 32767
} degu_tls_profile;

/* SHA-256 of a public key as certificates have it (SubjectPublicKeyInfo). */
typedef struct degu_tls_pin {
    unsigned char sha256[32];
} degu_tls_pin;

/* Zero it, and fill in what you have.  Nothing of it is kept.

   Whom to trust: authorities, pins, or both.  With pins alone the other end is
   who holds one of these keys, whoever signed its certificate, for whatever
   name and time.  With both, both must hold.  A client with neither trusts the
   authorities of the system. */
typedef struct degu_tls_config {
    degu_tls_profile profile;
    /* Files in PEM.  The certificate first, the authorities between it and a
       trusted one behind it.  Without key_file the key is in cert_file.  A
       server must have both, a client may. */
    const char *cert_file;
    const char *key_file; /* not encrypted, and its owner's alone to read */
    const char *ca_file;  /* authorities that are trusted */
    const char *ca_path;  /* a directory of them, as openssl rehash makes it */
    /* The same in memory; not beside the file of the same. */
    degu_str cert;
    degu_str key;
    degu_str ca;
    const degu_tls_pin *pins;
    size_t pin_count;
    /* Server: anybody may connect.  Must be said when there is neither an
       authority nor a pin, and not when there is. */
    bool allow_unauthenticated_clients;
    /* Client: any name will do that the authorities have signed.  Not with
       those of the system, who sign for everybody. */
    bool any_host_name;
    /* key_file may be one that group or others can read. */
    bool allow_readable_key;
} degu_tls_config;

/* How one end speaks TLS.  Private. */
typedef struct degu_tls {
    void *lock;
    void *context;
    bool server;
    char why[256];
} degu_tls;

/* Loads and checks all that config names.  DEGU_E_TLS_FILE for what cannot be
   read or used, DEGU_E_TLS_TRUST for a configuration that would trust
   everybody, DEGU_E_ARGUMENT for one that contradicts itself, DEGU_E_SPACE
   without memory, DEGU_E_SYSTEM for an OpenSSL that does not know the profile;
   degu_tls_why() says more, and nothing is left to close. */
DEGU_API DEGU_NODISCARD degu_err
degu_tls_open_server(degu_tls *tls, const degu_tls_config *config);
DEGU_API DEGU_NODISCARD degu_err
degu_tls_open_client(degu_tls *tls, const degu_tls_config *config);
/* Another configuration for later connections; those that are there keep
   theirs.  After an error, one of the above, the old one stays.  By one thread
   at a time, which may be any while others connect and serve. */
DEGU_API DEGU_NODISCARD degu_err
degu_tls_reload(degu_tls *tls, const degu_tls_config *config);
/* A sentence about the last open or reload that failed, or ""; for the thread
   that called it. */
DEGU_API const char *degu_tls_why(const degu_tls *tls);
/* Connections may outlast it, a degu_server that uses it may not. */
DEGU_API void degu_tls_close(degu_tls *tls);

/* ======================================================================== */
/* Connections                                                              */
/* ======================================================================== */

/* For degu_server_config.transport. */
DEGU_API degu_transport degu_tls_transport(degu_tls *tls);

/* Goes over to TLS on a client that has connected and sent nothing yet.  Has
   the client's timeout.

   name is what the certificate must be for: a host name, or an IP address as
   text (brackets and scope are ignored), no port; NULL: the IP address that it
   has connected to.  With any_host_name it is not checked.  A host name is told
   to the server too (SNI).

   DEGU_E_NOT_TLS, DEGU_E_CERTIFICATE, DEGU_E_CERTIFICATE_NAME, DEGU_E_PIN,
   DEGU_E_CERTIFICATE_REFUSED, DEGU_E_HANDSHAKE, DEGU_E_CLOSED, DEGU_E_TIMEOUT,
   DEGU_E_RESET, DEGU_E_SYSTEM, DEGU_E_INTERRUPTED, DEGU_E_SPACE;
   DEGU_E_ARGUMENT for a name that is none, no name where there is no IP address
   either, or a degu_tls that is a server's or not open.  The client can then
   only be closed: nothing leaves it in the clear.

   With TLS 1.3 a server judges our certificate after this: its
   DEGU_E_CERTIFICATE_REFUSED comes with the first response, and may come so
   with TLS 1.2 too. */
DEGU_API DEGU_NODISCARD degu_err degu_tls_connect(degu_tls *tls,
                                                  degu_client *client,
                                                  const char *name);

typedef enum degu_tls_name_kind {
    DEGU_TLS_DNS = 1,
    DEGU_TLS_IP = 2,
    DEGU_TLS_URI = 3,
    DEGU_TLS_EMAIL = 4,
    DEGU_PRIV_TLS_NAME_KIND_LAST = 32767
} degu_tls_name_kind;

/* A name that the authority vouches for (subjectAltName): visible ASCII. */
typedef struct degu_tls_name {
    degu_tls_name_kind kind;
    degu_str text;
} degu_tls_name;

/* Who is at the other end, once the handshake is done. */
typedef struct degu_tls_peer {
    const char *protocol; /* "TLSv1.2" or "TLSv1.3" */
    const char *cipher;   /* "ECDHE-RSA-AES256-GCM-SHA384" or
                             "TLS_AES_256_GCM_SHA384" */
    degu_str certificate; /* DER; not there: anonymous, as is all below */
    const degu_str *chain; /* DER, from the certificate up to the authority as
                              it was verified, or with pins alone as sent */
    size_t chain_count;
    unsigned char sha256[32];     /* of the certificate */
    unsigned char key_sha256[32]; /* of its public key: what pins are made of */
    degu_str subject;             /* RFC 4514: "CN=device-7,O=Acme" */
    const degu_tls_name *names;   /* in the certificate's order; those of other
                                     kinds, or with bytes that are no visible
                                     ASCII, are left out */
    size_t name_count;
} degu_tls_peer;

/* NULL: the connection has no TLS, or is not done with its handshake.  Good as
   long as the connection. */
DEGU_API const degu_tls_peer *degu_tls_peer_of(const degu_conn *conn);
/* More about the last TLS error of a connection, in OpenSSL's words; "" if
   there was none.  Good as long as the connection. */
DEGU_API const char *degu_tls_error(const degu_conn *conn);

/* ---- The same for connections that are neither a degu_client's nor a
        degu_server's ---- */

/* Makes *io, a way for layer 6, over a connected socket that has to stay where
   it is.  name as for degu_tls_connect(), but NULL only for a server and where
   no name is checked.  DEGU_E_ARGUMENT, DEGU_E_SPACE. */
DEGU_API DEGU_NODISCARD degu_err degu_tls_start(degu_tls *tls,
                                                degu_socket *socket,
                                                const char *name, degu_io *io);
/* DEGU_E_AGAIN: call again once there is input; only if the socket is
   nonblocking.  Must have given DEGU_OK before io is used. */
DEGU_API DEGU_NODISCARD degu_err degu_tls_handshake(const degu_io *io);
/* Gives the way back and leaves the socket open.  clean: tells the other end
   that all has been sent, if that is possible without waiting. */
DEGU_API void degu_tls_end(const degu_io *io, bool clean);

#ifdef __cplusplus
}
#endif
#endif /* DEGU_TLS_H */

/* ======================================================================== */
/* Implementation                                                           */
/* ======================================================================== */

#if (defined(DEGU_TLS_IMPLEMENTATION) || defined(DEGU_IMPLEMENTATION)) &&     \
    !defined(DEGU_TLS_IMPLEMENTATION_DONE)
#define DEGU_TLS_IMPLEMENTATION_DONE

/* OpenSSL's socket functions are not used: a BIO of ours calls those of
   degu.h, which know what a deadline is and raise no signal.  What they return
   goes past OpenSSL in the field failed, and is what layer 6 gets to see. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error "degu_tls.h: needs OpenSSL 3"
#endif

#define DEGU_PRIV_TLS_WHY (sizeof(((degu_tls *)0)->why))
#ifdef __cplusplus
#define DEGU_PRIV_TLS_CAST(type, x) static_cast<type>(x)
#else
#define DEGU_PRIV_TLS_CAST(type, x) ((type)(x))
#endif

/* What one load of a configuration made; connections hold references. */
typedef struct degu_priv_tls_context {
    SSL_CTX *ctx;
    BIO_METHOD *method;
    CRYPTO_RWLOCK *lock;
    int references;
    bool server;
    bool any_host_name;
    bool has_authority;
    size_t pin_count;
    degu_tls_pin *pins;
} degu_priv_tls_context;

/* A piece of memory that ends with its connection; the bytes stand behind. */
typedef struct degu_priv_tls_kept {
    struct degu_priv_tls_kept *next;
} degu_priv_tls_kept;

/* One connection: the ctx of its degu_io. */
typedef struct degu_priv_tls {
    SSL *ssl;
    degu_priv_tls_context *context;
    degu_socket *socket;
    unsigned flags;  /* for the socket, of the call in hand */
    degu_err failed; /* what the socket's last call returned, if an error */
    bool eof;        /* the socket has ended, with or without close_notify */
    bool dead;       /* after an error that ends all (SSL_shutdown(3)) */
    bool shaken;     /* the handshake is done */
    unsigned reads;  /* of the socket, by the call in hand */
    size_t begun;    /* bytes of a write that has to be gone on with */
    char why[128];
    degu_tls_peer peer;
    degu_priv_tls_kept *kept;
} degu_priv_tls;

static void degu_priv_tls_zero(void *ptr, size_t len)
{
    memset(ptr, 0, len);
}

/* ---- Loading ---- */

static bool degu_priv_tls_lacks_memory(void)
{
    return ERR_GET_REASON(ERR_peek_error()) == ERR_R_MALLOC_FAILURE;
}

/* What has been found wrong with a configuration. */
typedef struct degu_priv_tls_load {
    degu_priv_tls_context *context;
    const degu_tls_config *config;
    degu_err err;
    char *why; /* DEGU_PRIV_TLS_WHY bytes */
} degu_priv_tls_load;

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static bool degu_priv_tls_refuse(degu_priv_tls_load *load, degu_err err,
                                 const char *format, ...)
{
    va_list args;

    if (degu_priv_tls_lacks_memory())
        err = DEGU_E_SPACE;
    load->err = err;
    va_start(args, format);
    (void)vsnprintf(load->why, DEGU_PRIV_TLS_WHY, format, args);
    va_end(args);
    ERR_clear_error();
    return false;
}

/* What OpenSSL says about one of its errors. */
static const char *degu_priv_tls_text(unsigned long number)
{
    const char *text = ERR_reason_error_string(number);

    if (number && ERR_SYSTEM_ERROR(number))
        return strerror(ERR_GET_REASON(number));
    return text ? text : "no reason given";
}

/* Of loading: the first error is the cause. */
static const char *degu_priv_tls_reason(void)
{
    return degu_priv_tls_text(ERR_peek_error());
}

/* Never asks at the terminal. */
static int degu_priv_tls_no_password(char *buf, int size, int writing,
                                     void *ctx)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)ctx;
    return -1;
}

/* A file, but no device or FIFO that would be waited for; private: its
   owner's alone. */
static BIO *degu_priv_tls_open_file(degu_priv_tls_load *load, const char *what,
                                    const char *path, bool is_private)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat status;
    FILE *file;
    BIO *bio;

    if (fd < 0 || fstat(fd, &status)) {
        degu_priv_tls_refuse(load, DEGU_E_TLS_FILE, "%s: %s: %s", what, path,
                             strerror(errno));
    } else if (!S_ISREG(status.st_mode)) {
        degu_priv_tls_refuse(load, DEGU_E_TLS_FILE, "%s: %s: is no file", what,
                             path);
    } else if (is_private && status.st_mode & (S_IRWXG | S_IRWXO)) {
        degu_priv_tls_refuse(load, DEGU_E_TLS_FILE,
                             "%s: %s: others than its owner may read or write "
                             "it (chmod 600, or allow_readable_key)",
                             what, path);
    } else {
        file = fdopen(fd, "r");
        /* Nothing of a key shall stay in a buffer. */
        if (file && is_private)
            (void)setvbuf(file, NULL, _IONBF, 0);
        bio = file ? BIO_new_fp(file, BIO_CLOSE) : NULL;
        if (bio)
            return bio;
        if (file)
            (void)fclose(file);
        else
            close(fd);
        degu_priv_tls_refuse(load, DEGU_E_SPACE, "%s: %s: no memory", what,
                             path);
        return NULL;
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

/* Where the PEM text of one item is read from. */
static BIO *degu_priv_tls_open_pem(degu_priv_tls_load *load, const char *what,
                                   const char *path, degu_str memory,
                                   bool is_private)
{
    BIO *bio;

    if (path)
        return degu_priv_tls_open_file(load, what, path, is_private);
    if (memory.len > INT_MAX) {
        degu_priv_tls_refuse(load, DEGU_E_ARGUMENT, "%s: too long", what);
        return NULL;
    }
    bio = BIO_new_mem_buf(memory.ptr, DEGU_PRIV_TLS_CAST(int, memory.len));
    if (!bio)
        degu_priv_tls_refuse(load, DEGU_E_SPACE, "%s: no memory", what);
    return bio;
}

static const char *degu_priv_tls_place(const char *path)
{
    return path ? path : "(in memory)";
}

/* Hands every certificate of a PEM text to take.  false: one is malformed, or
   take refused it, or there was none. */
static bool degu_priv_tls_each(BIO *bio, bool (*take)(SSL_CTX *, X509 *, int),
                               SSL_CTX *ctx)
{
    X509 *certificate;
    bool good = true;
    int count = 0;

    for (;;) {
        certificate = PEM_read_bio_X509(bio, NULL, degu_priv_tls_no_password,
                                        NULL);
        if (!certificate)
            break;
        good = take(ctx, certificate, count++);
        X509_free(certificate);
        if (!good)
            return false;
    }
    /* The end of the text is an error that is none. */
    if (count &&
        ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE) {
        ERR_clear_error();
        return true;
    }
    return false;
}

static bool degu_priv_tls_take_own(SSL_CTX *ctx, X509 *certificate, int index)
{
    return index ? SSL_CTX_add1_chain_cert(ctx, certificate) == 1
                 : SSL_CTX_use_certificate(ctx, certificate) == 1;
}

/* A server tells clients which authorities it trusts. */
static bool degu_priv_tls_take_authority(SSL_CTX *ctx, X509 *certificate,
                                         int index)
{
    (void)index;
    return X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), certificate) == 1 &&
           SSL_CTX_add_client_CA(ctx, certificate) == 1;
}

static bool degu_priv_tls_load_certificates(
    degu_priv_tls_load *load, const char *what, const char *path,
    degu_str memory, bool (*take)(SSL_CTX *, X509 *, int))
{
    BIO *bio = degu_priv_tls_open_pem(load, what, path, memory, false);
    bool good;

    if (!bio)
        return false;
    good = degu_priv_tls_each(bio, take, load->context->ctx);
    BIO_free(bio);
    if (good)
        return true;
    return degu_priv_tls_refuse(load, DEGU_E_TLS_FILE,
                                "%s: %s: no certificates in PEM that can be "
                                "used: %s",
                                what, degu_priv_tls_place(path),
                                degu_priv_tls_reason());
}

static bool degu_priv_tls_load_key(degu_priv_tls_load *load)
{
    const degu_tls_config *config = load->config;
    const bool apart = config->key_file || config->key.ptr;
    const char *what = apart ? "key" : "cert";
    const char *path = apart ? config->key_file : config->cert_file;
    SSL_CTX *ctx = load->context->ctx;
    BIO *bio = degu_priv_tls_open_pem(load, what, path,
                                      apart ? config->key : config->cert,
                                      !config->allow_readable_key);
    EVP_PKEY *key;
    bool good;

    if (!bio)
        return false;
    key = PEM_read_bio_PrivateKey(bio, NULL, degu_priv_tls_no_password, NULL);
    BIO_free(bio);
    path = degu_priv_tls_place(path);
    if (!key)
        return degu_priv_tls_refuse(load, DEGU_E_TLS_FILE,
                                    "%s: %s: no private key in PEM without a "
                                    "password: %s",
                                    what, path, degu_priv_tls_reason());
    good = SSL_CTX_use_PrivateKey(ctx, key) == 1 &&
           SSL_CTX_check_private_key(ctx) == 1;
    EVP_PKEY_free(key);
    return good || degu_priv_tls_refuse(load, DEGU_E_TLS_FILE,
                                        "%s: %s: does not go with the "
                                        "certificate: %s",
                                        what, path, degu_priv_tls_reason());
}

/* A server whose only cipher cannot use its key would serve nobody. */
static bool degu_priv_tls_key_fits(degu_priv_tls_load *load)
{
    const X509 *own = SSL_CTX_get0_certificate(load->context->ctx);
    const EVP_PKEY *key = X509_get0_pubkey(own);

    if (!load->context->server || load->config->profile != DEGU_TLS_1_2 ||
        EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_is_a(key, "RSA-PSS"))
        return true;
    return degu_priv_tls_refuse(load, DEGU_E_TLS_FILE,
                                "cert: %s: its key is no RSA key, which "
                                "DEGU_TLS_1_2 wants of a server",
                                degu_priv_tls_place(load->config->cert_file));
}

static bool degu_priv_tls_load_own(degu_priv_tls_load *load)
{
    const degu_tls_config *config = load->config;
    const bool has_cert = config->cert_file || config->cert.ptr;
    const bool has_key = config->key_file || config->key.ptr;

    if (!has_cert && (has_key || load->context->server))
        return degu_priv_tls_refuse(load, DEGU_E_ARGUMENT,
                                    "cert: there is none%s",
                                    has_key ? " to the key" : "");
    if (!has_cert)
        return true;
    return degu_priv_tls_load_certificates(load, "cert", config->cert_file,
                                           config->cert,
                                           degu_priv_tls_take_own) &&
           degu_priv_tls_load_key(load) && degu_priv_tls_key_fits(load);
}

/* ---- Trust ---- */

static bool degu_priv_tls_load_pins(degu_priv_tls_load *load)
{
    degu_priv_tls_context *context = load->context;
    const size_t count = load->config->pin_count;

    if (!load->config->pins && count == 0)
        return true;
    if (!load->config->pins || count == 0 || count > 10000)
        return degu_priv_tls_refuse(load, DEGU_E_ARGUMENT,
                                    "pins: need 1 to 10000 of them");
    context->pins = DEGU_PRIV_TLS_CAST(
        degu_tls_pin *, OPENSSL_malloc(count * sizeof(degu_tls_pin)));
    if (!context->pins)
        return degu_priv_tls_refuse(load, DEGU_E_SPACE, "pins: no memory");
    memcpy(context->pins, load->config->pins, count * sizeof(degu_tls_pin));
    context->pin_count = count;
    return true;
}

static bool degu_priv_tls_hash_key(X509 *certificate, unsigned char *sha256)
{
    unsigned char *der = NULL;
    const int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    int good;

    if (len <= 0)
        return false;
    good = EVP_Digest(der, DEGU_PRIV_TLS_CAST(size_t, len), sha256, NULL,
                      EVP_sha256(), NULL);
    OPENSSL_free(der);
    return good == 1;
}

static bool degu_priv_tls_is_pinned(const degu_priv_tls_context *context,
                                    X509 *certificate)
{
    unsigned char sha256[32] = {0};
    size_t i;

    if (!certificate || !degu_priv_tls_hash_key(certificate, sha256))
        return false;
    for (i = 0; i < context->pin_count; i++)
        if (!memcmp(context->pins[i].sha256, sha256, sizeof sha256))
            return true;
    return false;
}
/* Security level 2: 112 bits, an RSA key of 2048. */
static bool degu_priv_tls_is_strong(X509 *certificate)
{
    const EVP_PKEY *key = certificate ? X509_get0_pubkey(certificate) : NULL;

    return key && EVP_PKEY_get_security_bits(key) >= 112;
}

/* What comes nearest, as TLSA records are pins in the DNS, which are not used
   here: its alert tells the other end that it is about its certificate. */
#define DEGU_PRIV_TLS_NO_PIN X509_V_ERR_DANE_NO_MATCH

/* In OpenSSL's place: the authorities if there are any, and then the pins. */
static int degu_priv_tls_verify(X509_STORE_CTX *store, void *arg)
{
    const degu_priv_tls_context *context =
        DEGU_PRIV_TLS_CAST(const degu_priv_tls_context *, arg);
    const int good = context->has_authority ? X509_verify_cert(store) : 1;
    bool pinned;

    if (good <= 0)
        return good;
    /* X509_verify_cert() looks at this too. */
    if (!degu_priv_tls_is_strong(X509_STORE_CTX_get0_cert(store))) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_EE_KEY_TOO_SMALL);
        return 0;
    }
    pinned = degu_priv_tls_is_pinned(context, X509_STORE_CTX_get0_cert(store));
    X509_STORE_CTX_set_error(store,
                             pinned ? X509_V_OK : DEGU_PRIV_TLS_NO_PIN);
    return pinned;
}

static bool degu_priv_tls_load_authorities(degu_priv_tls_load *load)
{
    const degu_tls_config *config = load->config;
    SSL_CTX *ctx = load->context->ctx;

    if ((config->ca_file || config->ca.ptr) &&
        !degu_priv_tls_load_certificates(load, "ca", config->ca_file,
                                         config->ca,
                                         degu_priv_tls_take_authority))
        return false;
    if (config->ca_path) {
        struct stat status;
        if (stat(config->ca_path, &status) || !S_ISDIR(status.st_mode) ||
            SSL_CTX_load_verify_dir(ctx, config->ca_path) != 1)
            return degu_priv_tls_refuse(load, DEGU_E_TLS_FILE,
                                        "ca_path: %s: is no directory that "
                                        "can be used",
                                        config->ca_path);
    }
    load->context->has_authority =
        config->ca_file || config->ca.ptr || config->ca_path;
    return true;
}

/* A client's last resort. */
static bool degu_priv_tls_load_system(degu_priv_tls_load *load)
{
    if (load->config->any_host_name)
        return degu_priv_tls_refuse(load, DEGU_E_TLS_TRUST,
                                    "any_host_name: the authorities of the "
                                    "system sign for everybody");
    load->context->has_authority = true;
    return SSL_CTX_set_default_verify_paths(load->context->ctx) == 1 ||
           degu_priv_tls_refuse(load, DEGU_E_TLS_FILE,
                                "the authorities of the system: %s",
                                degu_priv_tls_reason());
}

static bool degu_priv_tls_load_trust(degu_priv_tls_load *load)
{
    degu_priv_tls_context *context = load->context;
    const bool open = load->config->allow_unauthenticated_clients;
    int mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    bool nobody;

    if (!degu_priv_tls_load_authorities(load) ||
        !degu_priv_tls_load_pins(load))
        return false;
    nobody = !context->has_authority && !context->pin_count;
    if (open && (!context->server || !nobody))
        return degu_priv_tls_refuse(load, DEGU_E_ARGUMENT,
                                    "allow_unauthenticated_clients: only for "
                                    "a server without authority and pins");
    if (context->server && nobody && !open)
        return degu_priv_tls_refuse(load, DEGU_E_TLS_TRUST,
                                    "no authority (ca_file, ca_path, ca) and "
                                    "no pins: nobody could connect, or "
                                    "anybody with "
                                    "allow_unauthenticated_clients");
    if (!context->server && nobody && !degu_priv_tls_load_system(load))
        return false;
    if (open)
        mode = SSL_VERIFY_NONE;
    SSL_CTX_set_verify(context->ctx, mode, NULL);
    if (context->pin_count)
        SSL_CTX_set_cert_verify_callback(context->ctx, degu_priv_tls_verify,
                                         context);
    return true;
}

/* ---- What is decided for everybody ---- */

static const unsigned char degu_priv_tls_alpn[] = {8,   'h', 't', 't', 'p',
                                                   '/', '1', '.', '1'};

/* Called if the client offers protocols: ours must be among them (RFC 7301
   3.2). */
static int degu_priv_tls_choose(SSL *ssl, const unsigned char **out,
                                unsigned char *out_len,
                                const unsigned char *in, unsigned in_len,
                                void *ctx)
{
    const size_t size = sizeof degu_priv_tls_alpn;
    unsigned at = 0;

    (void)ssl;
    (void)ctx;
    while (at < in_len) {
        if (in_len - at >= size && !memcmp(in + at, degu_priv_tls_alpn, size)) {
            *out = in + at + 1;
            *out_len = in[at];
            return SSL_TLSEXT_ERR_OK;
        }
        at += 1u + in[at];
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* The hybrid group where the library that runs knows it: an unknown name would
   make the whole list fail. */
static bool degu_priv_tls_set_groups(SSL_CTX *ctx, degu_tls_profile profile)
{
    char hybrid[] = "X25519MLKEM768:X25519:P-256:P-384";
    char classic[] = "X25519:P-256:P-384";
    const bool newest = profile == DEGU_TLS_1_3 &&
                        OpenSSL_version_num() >= 0x30500000L;

    return SSL_CTX_set1_groups_list(ctx, newest ? hybrid : classic) == 1;
}

static bool degu_priv_tls_set_profile(SSL_CTX *ctx, degu_tls_profile profile)
{
    const bool newer = profile == DEGU_TLS_1_3;
    const int version = newer ? TLS1_3_VERSION : TLS1_2_VERSION;

    SSL_CTX_set_security_level(ctx, 2);
    return SSL_CTX_set_min_proto_version(ctx, version) == 1 &&
           SSL_CTX_set_max_proto_version(ctx, version) == 1 &&
           SSL_CTX_set_ciphersuites(
               ctx, newer ? "TLS_AES_256_GCM_SHA384" : "") == 1 &&
           (newer || SSL_CTX_set_cipher_list(
                         ctx, "ECDHE-RSA-AES256-GCM-SHA384") == 1) &&
           degu_priv_tls_set_groups(ctx, profile);
}

/* No session may be taken up again: it would be one that nobody has looked at
   the certificate of.  Tickets are stopped by their number in TLS 1.3 and by
   the option in 1.2, and without an id context a client that tries is cut. */
static bool degu_priv_tls_set_rules(SSL_CTX *ctx)
{
    static const unsigned char name[] = {'d', 'e', 'g', 'u'};

    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_NO_TICKET |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    /* The system's configuration may have it; it hides truncation. */
    SSL_CTX_clear_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_alpn_select_cb(ctx, degu_priv_tls_choose, NULL);
    return SSL_CTX_set_num_tickets(ctx, 0) == 1 &&
           SSL_CTX_set_max_early_data(ctx, 0) == 1 &&
           SSL_CTX_set_session_id_context(ctx, name, sizeof name) == 1 &&
           SSL_CTX_set_alpn_protos(ctx, degu_priv_tls_alpn,
                                   sizeof degu_priv_tls_alpn) == 0;
}

/* ---- Contexts ---- */

/* One reference more or less; the number that there are now.  OpenSSL's own
   counting is hidden from ThreadSanitizer, and so from who uses it. */
static int degu_priv_tls_count(degu_priv_tls_context *context, int change)
{
#if defined(__GNUC__)
    return __atomic_add_fetch(&context->references, change, __ATOMIC_ACQ_REL);
#else
    int count = 1;

    (void)CRYPTO_atomic_add(&context->references, change, &count,
                            context->lock);
    return count;
#endif
}

static void degu_priv_tls_release(degu_priv_tls_context *context)
{
    if (!context || (context->lock && degu_priv_tls_count(context, -1) > 0))
        return;
    SSL_CTX_free(context->ctx);
    BIO_meth_free(context->method);
    CRYPTO_THREAD_lock_free(context->lock);
    OPENSSL_free(context->pins);
    OPENSSL_free(context);
    ERR_clear_error(); /* it can fail at that, for want of memory */
}

static BIO_METHOD *degu_priv_tls_method(void);

static degu_priv_tls_context *degu_priv_tls_blank(bool server)
{
    degu_priv_tls_context *context = DEGU_PRIV_TLS_CAST(
        degu_priv_tls_context *, OPENSSL_zalloc(sizeof *context));

    if (!context)
        return NULL;
    context->references = 1;
    context->server = server;
    context->lock = CRYPTO_THREAD_lock_new();
    context->method = degu_priv_tls_method();
    context->ctx =
        SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (context->lock && context->method && context->ctx)
        return context;
    degu_priv_tls_release(context);
    return NULL;
}

static bool degu_priv_tls_is_consistent(degu_priv_tls_load *load)
{
    const degu_tls_config *config = load->config;

    if (config->profile != DEGU_TLS_1_2 && config->profile != DEGU_TLS_1_3)
        return degu_priv_tls_refuse(load, DEGU_E_ARGUMENT,
                                    "profile: there is no such one");
    if ((config->cert_file && config->cert.ptr) ||
        (config->key_file && config->key.ptr) ||
        (config->ca_file && config->ca.ptr))
        return degu_priv_tls_refuse(load, DEGU_E_ARGUMENT,
                                    "cert, key, ca: each as a file or in "
                                    "memory, not both");
    if (config->any_host_name && load->context->server)
        return degu_priv_tls_refuse(load, DEGU_E_ARGUMENT,
                                    "any_host_name: only for a client");
    return true;
}

/* The context that a configuration makes, or NULL with the reason in why. */
static degu_priv_tls_context *
degu_priv_tls_build(bool server, const degu_tls_config *config, char *why,
                    degu_err *err)
{
    degu_priv_tls_load load;

    ERR_clear_error();
    load.config = config;
    load.why = why;
    load.err = DEGU_OK;
    load.context = degu_priv_tls_blank(server);
    why[0] = '\0';
    if (!load.context) {
        degu_priv_tls_refuse(&load, DEGU_E_SPACE, "no memory");
    } else if (!degu_priv_tls_set_profile(load.context->ctx,
                                          config->profile) ||
               !degu_priv_tls_set_rules(load.context->ctx)) {
        degu_priv_tls_refuse(&load, DEGU_E_SYSTEM,
                             "this OpenSSL does not know the profile: %s",
                             degu_priv_tls_reason());
    } else if (degu_priv_tls_is_consistent(&load) &&
               degu_priv_tls_load_own(&load) &&
               degu_priv_tls_load_trust(&load)) {
        load.context->any_host_name = config->any_host_name;
        ERR_clear_error();
        *err = DEGU_OK;
        return load.context;
    }
    degu_priv_tls_release(load.context);
    *err = load.err;
    return NULL;
}

static degu_err degu_priv_tls_open(degu_tls *tls, bool server,
                                   const degu_tls_config *config)
{
    degu_err err;

    degu_priv_tls_zero(tls, sizeof *tls);
    tls->server = server;
    tls->context = degu_priv_tls_build(server, config, tls->why, &err);
    if (err)
        return err;
    tls->lock = CRYPTO_THREAD_lock_new();
    if (tls->lock)
        return DEGU_OK;
    degu_tls_close(tls);
    (void)snprintf(tls->why, sizeof tls->why, "no memory");
    return DEGU_E_SPACE;
}

DEGU_API degu_err degu_tls_open_server(degu_tls *tls,
                                       const degu_tls_config *config)
{
    return degu_priv_tls_open(tls, true, config);
}

DEGU_API degu_err degu_tls_open_client(degu_tls *tls,
                                       const degu_tls_config *config)
{
    return degu_priv_tls_open(tls, false, config);
}

DEGU_API degu_err degu_tls_reload(degu_tls *tls, const degu_tls_config *config)
{
    degu_priv_tls_context *context;
    void *old;
    degu_err err;

    if (!tls->context)
        return DEGU_E_ARGUMENT;
    context = degu_priv_tls_build(tls->server, config, tls->why, &err);
    if (err)
        return err;
    if (!CRYPTO_THREAD_write_lock(tls->lock)) {
        degu_priv_tls_release(context);
        return DEGU_E_SYSTEM;
    }
    old = tls->context;
    tls->context = context;
    CRYPTO_THREAD_unlock(tls->lock);
    degu_priv_tls_release(DEGU_PRIV_TLS_CAST(degu_priv_tls_context *, old));
    return DEGU_OK;
}

DEGU_API const char *degu_tls_why(const degu_tls *tls)
{
    return tls->why;
}

DEGU_API void degu_tls_close(degu_tls *tls)
{
    degu_priv_tls_release(
        DEGU_PRIV_TLS_CAST(degu_priv_tls_context *, tls->context));
    CRYPTO_THREAD_lock_free(tls->lock);
    tls->context = NULL;
    tls->lock = NULL;
}

/* The context of a new connection, which holds a reference; or NULL. */
static degu_priv_tls_context *degu_priv_tls_take(degu_tls *tls)
{
    degu_priv_tls_context *context = NULL;

    /* The context itself only under the lock: it may be changed meanwhile. */
    if (tls->lock && CRYPTO_THREAD_read_lock(tls->lock)) {
        context = DEGU_PRIV_TLS_CAST(degu_priv_tls_context *, tls->context);
        (void)degu_priv_tls_count(context, 1);
        CRYPTO_THREAD_unlock(tls->lock);
    }
    return context;
}

/* ---- Between OpenSSL and the socket ---- */

/* What a call of the socket returned, as OpenSSL wants to hear it.  After all
   but a broken connection the call may be made again. */
static int degu_priv_tls_passed(degu_priv_tls *t, BIO *bio, ptrdiff_t n)
{
    BIO_clear_retry_flags(bio);
    if (n >= 0)
        return DEGU_PRIV_TLS_CAST(int, n);
    t->failed = DEGU_PRIV_TLS_CAST(degu_err, n);
    return -1;
}

static bool degu_priv_tls_may_retry(const degu_priv_tls *t)
{
    return t->failed != DEGU_E_RESET && t->failed != DEGU_E_SYSTEM;
}

/* OpenSSL goes on reading while what comes has no content, such as changes of
   keys.  Who sends nothing else shall hold nobody, nor get more time by it:
   after so many reads the poller has its turn, or the deadline counts. */
static degu_err degu_priv_tls_may_read(degu_priv_tls *t)
{
    if (!t->shaken || t->reads++ < 8)
        return DEGU_OK;
    if (t->socket->nonblocking)
        return DEGU_E_AGAIN;
    return t->socket->deadline && degu_now() >= t->socket->deadline
               ? DEGU_E_TIMEOUT
               : DEGU_OK;
}

static int degu_priv_tls_bio_read(BIO *bio, char *buf, int len)
{
    degu_priv_tls *t = DEGU_PRIV_TLS_CAST(degu_priv_tls *, BIO_get_data(bio));
    ptrdiff_t got = degu_priv_tls_may_read(t);
    int n;

    if (got == 0)
        got = degu_socket_recv(t->socket, buf, DEGU_PRIV_TLS_CAST(size_t, len),
                               t->flags);
    n = degu_priv_tls_passed(t, bio, got);
    if (n == 0)
        t->eof = true;
    if (n < 0 && degu_priv_tls_may_retry(t))
        BIO_set_retry_read(bio);
    return n;
}

/* In the handshake output waits even if input does not: a flight of it fits
   into the socket, as a rule. */
static int degu_priv_tls_bio_write(BIO *bio, const char *buf, int len)
{
    degu_priv_tls *t = DEGU_PRIV_TLS_CAST(degu_priv_tls *, BIO_get_data(bio));
    const degu_str piece =
        degu_bytes(buf, DEGU_PRIV_TLS_CAST(size_t, len));
    const bool nonblocking = t->socket->nonblocking;
    int n;

    if (!t->shaken)
        t->socket->nonblocking = false;
    n = degu_priv_tls_passed(
        t, bio, degu_socket_send(t->socket, &piece, 1, t->flags));
    t->socket->nonblocking = nonblocking;
    if (n < 0 && degu_priv_tls_may_retry(t))
        BIO_set_retry_write(bio);
    return n;
}

static long degu_priv_tls_bio_ctrl(BIO *bio, int command, long number,
                                   void *ptr)
{
    const degu_priv_tls *t =
        DEGU_PRIV_TLS_CAST(const degu_priv_tls *, BIO_get_data(bio));

    (void)number;
    (void)ptr;
    if (command == BIO_CTRL_EOF)
        return t->eof;
    return command == BIO_CTRL_FLUSH;
}

/* Of a type that exists: new ones are numbered through the whole process, and
   there are few. */
static BIO_METHOD *degu_priv_tls_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "degu_socket");

    if (method && BIO_meth_set_read(method, degu_priv_tls_bio_read) &&
        BIO_meth_set_write(method, degu_priv_tls_bio_write) &&
        BIO_meth_set_ctrl(method, degu_priv_tls_bio_ctrl))
        return method;
    BIO_meth_free(method);
    return NULL;
}

/* ---- Errors ---- */

static void degu_priv_tls_say(degu_priv_tls *t, const char *text)
{
    (void)snprintf(t->why, sizeof t->why, "%s", text);
}

static degu_err degu_priv_tls_untrusted(degu_priv_tls *t)
{
    const long result = SSL_get_verify_result(t->ssl);

    degu_priv_tls_say(t, X509_verify_cert_error_string(result));
    switch (result) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return DEGU_E_CERTIFICATE_NAME;
    case DEGU_PRIV_TLS_NO_PIN:
        degu_priv_tls_say(t, degu_strerror(DEGU_E_PIN));
        return DEGU_E_PIN;
    default:
        return DEGU_E_CERTIFICATE;
    }
}

/* Alerts about certificates (RFC 8446 6.2); DEGU_OK for other ones.  TLS 1.2
   has none for a certificate that is missing. */
static degu_err degu_priv_tls_refused(const degu_priv_tls *t, int alert)
{
    const unsigned char *types;

    switch (alert) {
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case TLS13_AD_CERTIFICATE_REQUIRED:
        return DEGU_E_CERTIFICATE_REFUSED;
    case SSL_AD_HANDSHAKE_FAILURE:
        if (!t->context->server && !SSL_get_certificate(t->ssl) &&
            SSL_get0_certificate_types(t->ssl, &types))
            return DEGU_E_CERTIFICATE_REFUSED;
        return DEGU_OK;
    default:
        return DEGU_OK;
    }
}

/* What OpenSSL's last error means: that of its TLS, which comes behind those
   of what that is made of, whose reasons have the same numbers. */
static degu_err degu_priv_tls_judge(degu_priv_tls *t)
{
    const unsigned long number = ERR_peek_last_error();
    const int reason =
        ERR_GET_LIB(number) == ERR_LIB_SSL ? ERR_GET_REASON(number) : 0;
    degu_err err;

    degu_priv_tls_say(t, degu_priv_tls_text(number));
    if (degu_priv_tls_lacks_memory())
        return DEGU_E_SPACE;
    switch (reason) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        return degu_priv_tls_untrusted(t);
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return DEGU_E_CERTIFICATE_MISSING;
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_WRONG_VERSION_NUMBER:
        return t->shaken ? DEGU_E_TLS : DEGU_E_NOT_TLS;
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return t->shaken ? DEGU_E_TRUNCATED : DEGU_E_CLOSED;
    default:
        break;
    }
    err = reason > SSL_AD_REASON_OFFSET
              ? degu_priv_tls_refused(t, reason - SSL_AD_REASON_OFFSET)
              : DEGU_OK;
    if (err)
        return err;
    return t->shaken ? DEGU_E_TLS : DEGU_E_HANDSHAKE;
}

/* What a call of OpenSSL that returned result has come to: 0 after the other
   end's close_notify, else an error. */
static ptrdiff_t degu_priv_tls_outcome(degu_priv_tls *t, int result)
{
    ptrdiff_t outcome;

    switch (SSL_get_error(t->ssl, result)) {
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return t->failed ? t->failed : DEGU_E_TLS;
    case SSL_ERROR_SYSCALL:
        t->dead = true;
        outcome = t->failed ? t->failed : DEGU_E_RESET;
        break;
    default:
        t->dead = true;
        outcome = degu_priv_tls_judge(t);
    }
    ERR_clear_error();
    return outcome;
}

/* Before each call of OpenSSL; its errors are the thread's, not ours alone.  A
   step begins even if this call of it does not come as far as the socket. */
static void degu_priv_tls_begin(degu_priv_tls *t, unsigned flags)
{
    if (ERR_peek_error()) /* to ask is cheaper than to clear what is clear */
        ERR_clear_error();
    if (flags & DEGU_IO_BEGIN)
        t->socket->deadline = 0;
    t->flags = flags & (DEGU_IO_NOWAIT | DEGU_IO_BODY);
    t->failed = DEGU_OK;
    t->reads = 0;
}

/* The same for reading.  Who wants answers and takes none would be told of by
   the poller again and again. */
static ptrdiff_t degu_priv_tls_read_outcome(degu_priv_tls *t, int result)
{
    if (!t->socket->nonblocking ||
        SSL_get_error(t->ssl, result) != SSL_ERROR_WANT_WRITE)
        return degu_priv_tls_outcome(t, result);
    t->dead = true;
    degu_priv_tls_say(t, "wants answers and takes none");
    return DEGU_E_TLS;
}

/* ---- The way for layer 6 ---- */

/* May there be something to read?  Records without content, such as tickets,
   are not for layer 6. */
static ptrdiff_t degu_priv_tls_peek(degu_priv_tls *t)
{
    const bool nonblocking = t->socket->nonblocking;
    ptrdiff_t outcome;
    char byte;
    int n;

    if (!SSL_has_pending(t->ssl) &&
        degu_socket_recv(t->socket, &byte, 1, DEGU_IO_PEEK) == DEGU_E_AGAIN)
        return DEGU_E_AGAIN;
    t->socket->nonblocking = true;
    degu_priv_tls_begin(t, 0);
    n = SSL_peek(t->ssl, &byte, 1);
    outcome = n > 0 ? 1 : degu_priv_tls_read_outcome(t, n);
    t->socket->nonblocking = nonblocking;
    return outcome;
}

static ptrdiff_t degu_priv_tls_recv(void *ctx, void *buf, size_t len,
                                    unsigned flags)
{
    degu_priv_tls *t = DEGU_PRIV_TLS_CAST(degu_priv_tls *, ctx);
    int n;

    if (!t->shaken)
        return DEGU_E_HANDSHAKE;
    if (flags & DEGU_IO_PEEK)
        return degu_priv_tls_peek(t);
    if (len > SSL3_RT_MAX_PLAIN_LENGTH)
        len = SSL3_RT_MAX_PLAIN_LENGTH;
    degu_priv_tls_begin(t, flags);
    n = SSL_read(t->ssl, buf, DEGU_PRIV_TLS_CAST(int, len));
    return n > 0 ? n : degu_priv_tls_read_outcome(t, n);
}

/* Puts the first len bytes of all pieces together. */
static void degu_priv_tls_join(char *dst, size_t len, const degu_str *pieces)
{
    while (len) {
        const size_t part = pieces->len < len ? pieces->len : len;
        memcpy(dst, pieces->ptr, part);
        dst += part;
        len -= part;
        pieces++;
    }
}

/* A record at a time, as full as may be.  One that has been begun must be gone
   on with before another (SSL_write(3)). */
static ptrdiff_t degu_priv_tls_send(void *ctx, const degu_str *pieces,
                                    size_t count, unsigned flags)
{
    degu_priv_tls *t = DEGU_PRIV_TLS_CAST(degu_priv_tls *, ctx);
    char joined[SSL3_RT_MAX_PLAIN_LENGTH];
    const char *bytes = pieces->ptr;
    size_t i, len = 0;
    ptrdiff_t outcome;
    int n;

    if (!t->shaken)
        return DEGU_E_HANDSHAKE;
    for (i = 0; i < count && len < sizeof joined; i++)
        len += pieces[i].len;
    if (len > sizeof joined)
        len = sizeof joined;
    if (t->begun > len)
        return DEGU_E_ARGUMENT;
    if (t->begun)
        len = t->begun;
    if (pieces->len < len) {
        degu_priv_tls_join(joined, len, pieces);
        bytes = joined;
    }
    degu_priv_tls_begin(t, flags);
    n = SSL_write(t->ssl, bytes, DEGU_PRIV_TLS_CAST(int, len));
    outcome = n > 0 ? n : degu_priv_tls_outcome(t, n);
    t->begun = n > 0 || t->dead ? 0 : len;
    if (outcome == 0)
        outcome = DEGU_E_RESET;
    return outcome;
}

/* ---- The peer ---- */

/* Memory that lasts as long as the connection, or NULL. */
static void *degu_priv_tls_alloc(degu_priv_tls *t, size_t len)
{
    degu_priv_tls_kept *node = DEGU_PRIV_TLS_CAST(
        degu_priv_tls_kept *, OPENSSL_zalloc(sizeof *node + len));

    if (!node) {
        t->failed = DEGU_E_SPACE;
        return NULL;
    }
    node->next = t->kept;
    t->kept = node;
    return node + 1;
}

/* A copy in such memory; false: there is none. */
static bool degu_priv_tls_keep(degu_priv_tls *t, degu_str *copy,
                               const void *bytes, size_t len)
{
    void *space = degu_priv_tls_alloc(t, len);

    if (space && len)
        memcpy(space, bytes, len);
    *copy = degu_bytes(space, len);
    return space != NULL;
}

static bool degu_priv_tls_keep_der(degu_priv_tls *t, degu_str *copy,
                                   X509 *certificate)
{
    unsigned char *der = NULL;
    const int len = i2d_X509(certificate, &der);
    bool good = false;

    if (len > 0)
        good = degu_priv_tls_keep(t, copy, der,
                                  DEGU_PRIV_TLS_CAST(size_t, len));
    OPENSSL_free(der);
    return good;
}

/* With pins alone nothing is verified, and what was sent is all there is; what
   a client sent comes without its own certificate. */
static bool degu_priv_tls_note_chain(degu_priv_tls *t, X509 *own)
{
    STACK_OF(X509) *chain = SSL_get0_verified_chain(t->ssl);
    degu_str *list;
    int i, count;

    if (!chain)
        chain = SSL_get_peer_cert_chain(t->ssl);
    count = chain ? sk_X509_num(chain) : 0;
    list = DEGU_PRIV_TLS_CAST(
        degu_str *,
        degu_priv_tls_alloc(t, DEGU_PRIV_TLS_CAST(size_t, count + 1) *
                                   sizeof *list));
    if (!list)
        return false;
    t->peer.chain = list;
    list[t->peer.chain_count++] = t->peer.certificate;
    for (i = 0; i < count; i++) {
        X509 *one = sk_X509_value(chain, i);
        if (i == 0 && X509_cmp(one, own) == 0)
            continue;
        if (!degu_priv_tls_keep_der(t, &list[t->peer.chain_count++], one))
            return false;
    }
    return true;
}

static bool degu_priv_tls_note_subject(degu_priv_tls *t, X509 *certificate)
{
    const unsigned long form = XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB;
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len;
    bool good = false;

    if (bio && X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0,
                                  form) >= 0) {
        len = BIO_get_mem_data(bio, &text);
        good = degu_priv_tls_keep(t, &t->peer.subject, text,
                                  DEGU_PRIV_TLS_CAST(size_t, len));
    }
    BIO_free(bio);
    return good;
}

static bool degu_priv_tls_is_visible(const unsigned char *bytes, int len)
{
    int i;

    for (i = 0; i < len; i++)
        if (bytes[i] < 0x21 || bytes[i] > 0x7e)
            return false;
    return len > 0;
}

/* The kind of a name with its bytes, or 0 for one that is left out. */
static int degu_priv_tls_read_name(const GENERAL_NAME *name,
                                   const unsigned char **bytes, int *len)
{
    const ASN1_STRING *string;
    int kind;

    switch (name->type) {
    case GEN_DNS:
        kind = DEGU_TLS_DNS;
        string = name->d.dNSName;
        break;
    case GEN_URI:
        kind = DEGU_TLS_URI;
        string = name->d.uniformResourceIdentifier;
        break;
    case GEN_EMAIL:
        kind = DEGU_TLS_EMAIL;
        string = name->d.rfc822Name;
        break;
    case GEN_IPADD:
        kind = DEGU_TLS_IP;
        string = name->d.iPAddress;
        break;
    default:
        return 0;
    }
    *bytes = ASN1_STRING_get0_data(string);
    *len = ASN1_STRING_length(string);
    if (kind == DEGU_TLS_IP)
        return *len == 4 || *len == 16 ? kind : 0;
    return degu_priv_tls_is_visible(*bytes, *len) ? kind : 0;
}

static bool degu_priv_tls_note_name(degu_priv_tls *t, degu_tls_name *slot,
                                    const GENERAL_NAME *name)
{
    const unsigned char *bytes;
    char text[INET6_ADDRSTRLEN];
    int len;
    const int kind = degu_priv_tls_read_name(name, &bytes, &len);

    if (!kind)
        return true;
    slot->kind = DEGU_PRIV_TLS_CAST(degu_tls_name_kind, kind);
    t->peer.name_count++;
    if (kind != DEGU_TLS_IP)
        return degu_priv_tls_keep(t, &slot->text, bytes,
                                  DEGU_PRIV_TLS_CAST(size_t, len));
    return inet_ntop(len == 4 ? AF_INET : AF_INET6, bytes, text,
                     sizeof text) &&
           degu_priv_tls_keep(t, &slot->text, text, strlen(text));
}

static bool degu_priv_tls_note_names(degu_priv_tls *t, X509 *certificate)
{
    GENERAL_NAMES *all = DEGU_PRIV_TLS_CAST(
        GENERAL_NAMES *,
        X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL));
    const int count = all ? sk_GENERAL_NAME_num(all) : 0;
    degu_tls_name *list = DEGU_PRIV_TLS_CAST(
        degu_tls_name *,
        degu_priv_tls_alloc(t, DEGU_PRIV_TLS_CAST(size_t, count) *
                                   sizeof *list));
    bool good = list != NULL;
    int i;

    t->peer.names = list;
    for (i = 0; i < count && good; i++)
        good = degu_priv_tls_note_name(t, &list[t->peer.name_count],
                                       sk_GENERAL_NAME_value(all, i));
    GENERAL_NAMES_free(all);
    return good;
}

/* Notes all there is to know about the other end.  false: no memory, or a
   certificate that cannot be told of. */
static bool degu_priv_tls_note_peer(degu_priv_tls *t)
{
    X509 *certificate = SSL_get1_peer_certificate(t->ssl);
    bool good;

    degu_priv_tls_zero(&t->peer, sizeof t->peer);
    t->peer.protocol = SSL_get_version(t->ssl);
    t->peer.cipher = SSL_get_cipher_name(t->ssl);
    if (!certificate)
        return true;
    good = degu_priv_tls_keep_der(t, &t->peer.certificate, certificate) &&
           X509_digest(certificate, EVP_sha256(), t->peer.sha256, NULL) &&
           degu_priv_tls_hash_key(certificate, t->peer.key_sha256) &&
           degu_priv_tls_note_chain(t, certificate) &&
           degu_priv_tls_note_subject(t, certificate) &&
           degu_priv_tls_note_names(t, certificate);
    X509_free(certificate);
    return good;
}

/* The session of a connection; NULL if it has another way than ours. */
static const degu_priv_tls *degu_priv_tls_of(const degu_conn *conn)
{
    const degu_io io = degu_conn_io(conn);

    return io.recv == degu_priv_tls_recv
               ? DEGU_PRIV_TLS_CAST(const degu_priv_tls *, io.ctx)
               : NULL;
}

DEGU_API const degu_tls_peer *degu_tls_peer_of(const degu_conn *conn)
{
    const degu_priv_tls *t = degu_priv_tls_of(conn);

    return t && t->shaken ? &t->peer : NULL;
}

DEGU_API const char *degu_tls_error(const degu_conn *conn)
{
    const degu_priv_tls *t = degu_priv_tls_of(conn);

    return t ? t->why : "";
}

/* ---- Begin and end ---- */

static void degu_priv_tls_free(degu_priv_tls *t)
{
    degu_priv_tls_kept *node = t->kept;

    while (node) {
        degu_priv_tls_kept *next = node->next;
        OPENSSL_free(node);
        node = next;
    }
    SSL_free(t->ssl);
    degu_priv_tls_release(t->context);
    OPENSSL_free(t);
    ERR_clear_error();
}

static void degu_priv_tls_close(void *ctx, bool clean)
{
    degu_priv_tls *t = DEGU_PRIV_TLS_CAST(degu_priv_tls *, ctx);

    if (clean && t->shaken && !t->dead && !t->begun) {
        const bool nonblocking = t->socket->nonblocking;
        t->socket->nonblocking = true;
        degu_priv_tls_begin(t, 0);
        (void)SSL_shutdown(t->ssl);
        t->socket->nonblocking = nonblocking;
    }
    degu_priv_tls_zero(&t->socket->over, sizeof t->socket->over);
    degu_priv_tls_free(t);
}

/* name without brackets and scope, which certificates know nothing of; false
   if something stands behind them.  A dot in front would mean every name below
   it, to OpenSSL. */
static bool degu_priv_tls_trim(const char *name, char *text, size_t size)
{
    const bool bracket = name[0] == '[';
    const char *start = name + bracket;
    const size_t len = strcspn(start, "%]");
    const char *end = start + strcspn(start, "]");

    if (len == 0 || len >= size || start[0] == '.' ||
        (bracket ? end[0] != ']' || end[1] != '\0' : end[0] != '\0'))
        return false;
    memcpy(text, start, len);
    text[len] = '\0';
    return true;
}

/* Whom a client means to talk to. */
static degu_err degu_priv_tls_set_name(degu_priv_tls *t, const char *name)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
    const bool any = t->context->any_host_name || !t->context->has_authority;
    unsigned char ip[16];
    char text[256];
    bool good;

    if (!name)
        return any ? DEGU_OK : DEGU_E_ARGUMENT;
    if (!degu_priv_tls_trim(name, text, sizeof text))
        return DEGU_E_ARGUMENT;
    if (inet_pton(AF_INET, text, ip) == 1 || inet_pton(AF_INET6, text, ip) == 1)
        return any || X509_VERIFY_PARAM_set1_ip_asc(param, text) == 1
                   ? DEGU_OK
                   : DEGU_E_SPACE;
    if (strchr(text, ':'))
        return DEGU_E_ARGUMENT;
    X509_VERIFY_PARAM_set_hostflags(param,
                                    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                        X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    good = SSL_set_tlsext_host_name(t->ssl, text) == 1 &&
           (any || SSL_set1_host(t->ssl, text) == 1);
    return good ? DEGU_OK : DEGU_E_SPACE;
}

/* A session over a socket, without a way yet; NULL without memory. */
static degu_priv_tls *degu_priv_tls_new(degu_tls *tls, degu_socket *socket)
{
    degu_priv_tls *t = DEGU_PRIV_TLS_CAST(degu_priv_tls *,
                                          OPENSSL_zalloc(sizeof *t));
    BIO *bio = NULL;

    if (!t)
        return NULL;
    t->socket = socket;
    t->context = degu_priv_tls_take(tls);
    if (t->context) {
        t->ssl = SSL_new(t->context->ctx);
        bio = t->ssl ? BIO_new(t->context->method) : NULL;
    }
    if (!bio) {
        degu_priv_tls_free(t);
        return NULL;
    }
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    return t;
}

DEGU_API degu_err degu_tls_start(degu_tls *tls, degu_socket *socket,
                                 const char *name, degu_io *io)
{
    degu_priv_tls *t;
    degu_err err;

    ERR_clear_error();
    if (!tls->lock)
        return DEGU_E_ARGUMENT;
    t = degu_priv_tls_new(tls, socket);
    if (!t)
        return DEGU_E_SPACE;
    err = t->context->server ? DEGU_OK : degu_priv_tls_set_name(t, name);
    if (err) {
        degu_priv_tls_free(t);
        return err;
    }
    if (t->context->server)
        SSL_set_accept_state(t->ssl);
    else
        SSL_set_connect_state(t->ssl);
    io->ctx = t;
    io->recv = degu_priv_tls_recv;
    io->send = degu_priv_tls_send;
    socket->over = *io;
    return DEGU_OK;
}

/* A server that chooses what was not offered breaks RFC 7301 3.2. */
static bool degu_priv_tls_speaks_http(const degu_priv_tls *t)
{
    const unsigned char *name;
    unsigned len;

    SSL_get0_alpn_selected(t->ssl, &name, &len);
    return len == 0 || (len == degu_priv_tls_alpn[0] &&
                        !memcmp(name, degu_priv_tls_alpn + 1, len));
}

static degu_err degu_priv_tls_shake(void *ctx)
{
    degu_priv_tls *t = DEGU_PRIV_TLS_CAST(degu_priv_tls *, ctx);
    int n;

    if (t->shaken)
        return DEGU_OK;
    degu_priv_tls_begin(t, SSL_in_before(t->ssl) ? DEGU_IO_BEGIN : 0);
    n = SSL_do_handshake(t->ssl);
    if (n <= 0) {
        const ptrdiff_t outcome = degu_priv_tls_outcome(t, n);
        return outcome ? DEGU_PRIV_TLS_CAST(degu_err, outcome)
                       : DEGU_E_CLOSED;
    }
    if (!degu_priv_tls_speaks_http(t)) {
        degu_priv_tls_say(t, "the other end has chosen another protocol");
        return DEGU_E_HANDSHAKE;
    }
    t->shaken = degu_priv_tls_note_peer(t);
    if (!t->shaken && degu_priv_tls_lacks_memory())
        t->failed = DEGU_E_SPACE;
    ERR_clear_error();
    if (t->shaken)
        return DEGU_OK;
    degu_priv_tls_say(t, "a certificate with contents that cannot be read");
    return t->failed ? t->failed : DEGU_E_CERTIFICATE;
}

DEGU_API degu_err degu_tls_handshake(const degu_io *io)
{
    return degu_priv_tls_shake(io->ctx);
}

DEGU_API void degu_tls_end(const degu_io *io, bool clean)
{
    degu_priv_tls_close(io->ctx, clean);
}

/* ---- For layer 8 ---- */

static degu_err degu_priv_tls_accept(void *ctx, degu_session *session,
                                     degu_io *io)
{
    return degu_tls_start(DEGU_PRIV_TLS_CAST(degu_tls *, ctx), session->socket,
                          NULL, io);
}

static bool degu_priv_tls_has_input(void *ctx)
{
    const degu_priv_tls *t = DEGU_PRIV_TLS_CAST(const degu_priv_tls *, ctx);

    return SSL_has_pending(t->ssl) == 1;
}

DEGU_API degu_transport degu_tls_transport(degu_tls *tls)
{
    degu_transport transport;

    transport.ctx = tls;
    transport.open = degu_priv_tls_accept;
    transport.handshake = degu_priv_tls_shake;
    transport.has_input = degu_priv_tls_has_input;
    transport.close = degu_priv_tls_close;
    return transport;
}

static ptrdiff_t degu_priv_tls_recv_nothing(void *ctx, void *buf, size_t len,
                                            unsigned flags)
{
    (void)ctx;
    (void)buf;
    (void)len;
    (void)flags;
    return DEGU_E_HANDSHAKE;
}

static ptrdiff_t degu_priv_tls_send_nothing(void *ctx, const degu_str *pieces,
                                            size_t count, unsigned flags)
{
    (void)ctx;
    (void)pieces;
    (void)count;
    (void)flags;
    return DEGU_E_HANDSHAKE;
}

/* The way of a client that wants TLS as long as there is none. */
static degu_io degu_priv_tls_nowhere(void)
{
    degu_io io;

    io.ctx = NULL;
    io.recv = degu_priv_tls_recv_nothing;
    io.send = degu_priv_tls_send_nothing;
    return io;
}

DEGU_API degu_err degu_tls_connect(degu_tls *tls, degu_client *client,
                                   const char *name)
{
    char text[DEGU_ADDRESS_TEXT];
    degu_address address;
    degu_io io;
    degu_err err;

    if (client->close_secure)
        return DEGU_E_ARGUMENT;
    client->socket.over = degu_priv_tls_nowhere();
    degu_conn_set_io(&client->conn, client->socket.over);
    err = tls->server ? DEGU_E_ARGUMENT
                      : degu_peer_address(client->socket.fd, &address);
    if (err)
        return err;
    degu_format_host(&address, 443, client->host);
    if (!name &&
        (address.family == DEGU_IPV4 || address.family == DEGU_IPV6)) {
        address.port = 0;
        name = degu_format_host(&address, 0, text);
    }
    err = degu_tls_start(tls, &client->socket, name, &io);
    if (err)
        return err;
    client->secure = io.ctx;
    client->close_secure = degu_priv_tls_close;
    degu_conn_set_io(&client->conn, io);
    return degu_tls_handshake(&io);
}

#endif /* DEGU_TLS_IMPLEMENTATION */
/*
   Copyright (c) 2026 the Degu authors

   This file may be used under the terms of either licence, MIT or 0BSD, whose
   texts stand at the end of degu.h. */
