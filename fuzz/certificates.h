/* SPDX-License-Identifier: MIT OR 0BSD

   Certificates for fuzz_tls.c, made once with openssl(1), good from 2000 to
   9999: an authority whose key is gone; "good", which it has signed, for
   localhost, 127.0.0.1, ::1, urn:degu:device:7, a@example.com and two names
   that degu_tls.h leaves out; and a stranger, which has signed itself for the
   same names.  The keys are known to everybody, and of no other use. */

#ifndef FUZZ_CERTIFICATES_H
#define FUZZ_CERTIFICATES_H

static const char fuzz_authority[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIC8zCCAdugAwIBAgIBATANBgkqhkiG9w0BAQsFADAaMRgwFgYDVQQDDA9EZWd1\n"
    "IGZ1enppbmcgQ0EwIBcNMDAwMTAxMDAwMDAwWhgPOTk5OTEyMzEyMzU5NTlaMBox\n"
    "GDAWBgNVBAMMD0RlZ3UgZnV6emluZyBDQTCCASIwDQYJKoZIhvcNAQEBBQADggEP\n"
    "ADCCAQoCggEBAL67lIQ/sPH73OEnO/IoSK0vLeqLnTEFO1pxO+xlQkVRHzQ65EWr\n"
    "Vvy1PvLTSeI2abvCz3c2HjB/mGozyPLHi8mEmzxPHyNc0aqfaSxgzbxOqVimKR4u\n"
    "FAA0ZxXP4ZgnlJFpMpyrFVYEnoTb4dHWo/UkYh2GRg+nksOd+3dOxrxgGFBuo0LI\n"
    "hTk/LxO9eD9xj6gZelFDsUt4SuZDmPxg0rdnF4KjD6NnUuGsNcZ+tzt2DKc8I1JC\n"
    "hfti82cnV2cjWjQqZf8VVtN9+BXyoag9Wlzx0peGqMcwshAihbBfX0rGeud9jD4f\n"
    "WasoifkXwoDr5Jpj6PBJ8LJ7Atn2+0WB3/8CAwEAAaNCMEAwDwYDVR0TAQH/BAUw\n"
    "AwEB/zAOBgNVHQ8BAf8EBAMCAgQwHQYDVR0OBBYEFJ5fEaMLKtLi9olBvgaYEmva\n"
    "XjBFMA0GCSqGSIb3DQEBCwUAA4IBAQCuZMo2irIgdAoFubBQqMbgtJYnBHVjqBKt\n"
    "JKL6ysOSgAfdswbnhsZej64njM7htNe8Cw/qjnzx0Rm0zXT4r2zZoppnB+cvxCZa\n"
    "0c5b94JJkhgRTFellcCEpr7UZDQjwbszyFyHIzoc8FWdcy7LwB81xDAN15fQSolW\n"
    "+mGme0rYYgrbEKzIspOOaWsYLVeXhoRtYIh09EvUIM5K3Zo+rpf6xp65qt94EK0b\n"
    "GpBEDK3bk8IVEv3YcJeP2mI0xb6OiARyi0ny5haGrPKyCLdYNjnYDmFolA2AAUz/\n"
    "Ifs6dL1dZr0YDrWaViGSYssUM2itUBFR59kasms98BBBE3y32fix\n"
    "-----END CERTIFICATE-----\n";

static const char fuzz_good[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIDmjCCAoKgAwIBAgIBAjANBgkqhkiG9w0BAQsFADAaMRgwFgYDVQQDDA9EZWd1\n"
    "IGZ1enppbmcgQ0EwIBcNMDAwMTAxMDAwMDAwWhgPOTk5OTEyMzEyMzU5NTlaMCgx\n"
    "ETAPBgNVBAMMCGRldmljZS03MRMwEQYDVQQKDApBY21lLCBJbmMuMIIBIjANBgkq\n"
    "hkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAjx4KPp3XPRIE4utQtAe7vObv7sPguQkn\n"
    "YkeHwVuwrEvMj9ipcEEj7s1bFLL5m6AmPDBtdz0tjWcyxEQyFSLjUYYiQvkzDuQ6\n"
    "uV0yVCvi12+5Psd0eRqOOitrwrAAnzybaa+o/ZHT1NSXJzrBGE84PfCaFA18efs1\n"
    "3RFdWshi/NiiMF61jLzcPeLgBQSrSqy3vql2pOYLM/Sje17sbVNdyhHahCNZOXSW\n"
    "xqFzPu1rdX/Io/JFF/4qO7lrX/hw9QwL35EDuJ9IokuPN7dYOxCNTswVa1wYZBvv\n"
    "uogPJ3iqUF9FUqBBCwErBl/JwIep+RtxpK+V+o9Yl82sMbaGc4wubQIDAQABo4Ha\n"
    "MIHXMHYGA1UdEQRvMG2CCWxvY2FsaG9zdIcEfwAAAYcQAAAAAAAAAAAAAAAAAAAA\n"
    "AYYRdXJuOmRlZ3U6ZGV2aWNlOjeBDWFAZXhhbXBsZS5jb22kFjAUMRIwEAYDVQQD\n"
    "DAlkaXJlY3RvcnmgDgYDKgMEoAcMBW90aGVyMB0GA1UdJQQWMBQGCCsGAQUFBwMB\n"
    "BggrBgEFBQcDAjAdBgNVHQ4EFgQUmj+W4e+BXNCd/CxE0sr98mBAs58wHwYDVR0j\n"
    "BBgwFoAUnl8Rowsq0uL2iUG+BpgSa9peMEUwDQYJKoZIhvcNAQELBQADggEBAIFy\n"
    "Gi5FHluIYunMQxnkw0PqGx55pZ3HgFbUmLCVaQ+74g0d/JajLdhgAtfCQSzCT8eF\n"
    "6TqaoIIY81YKboo2KSOaq9H+ebcGrFdRJZ1IuQIrnBDVCjXZaWuu5wkWgv5CxyyA\n"
    "dLy7oNyJpzDoBcQp6vDnnuWVz70ZChzODIMCiCjonlamRthd6/T14WU+H/7AxVGy\n"
    "7ra433xouTDJ/4KfMPNKxUd23kbFV6t8yveDD4Li8i3ZBVcXDgiebw3GHXoVsIXf\n"
    "suv/iINw1rrhS35Q11DL/p520+AJKWb2bTPUjAY6ZfRviYBIVfZ+KBpFk7P+UOpF\n"
    "om/UrTCa619dgsaiET8=\n"
    "-----END CERTIFICATE-----\n";

static const char fuzz_good_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCPHgo+ndc9EgTi\n"
    "61C0B7u85u/uw+C5CSdiR4fBW7CsS8yP2KlwQSPuzVsUsvmboCY8MG13PS2NZzLE\n"
    "RDIVIuNRhiJC+TMO5Dq5XTJUK+LXb7k+x3R5Go46K2vCsACfPJtpr6j9kdPU1Jcn\n"
    "OsEYTzg98JoUDXx5+zXdEV1ayGL82KIwXrWMvNw94uAFBKtKrLe+qXak5gsz9KN7\n"
    "XuxtU13KEdqEI1k5dJbGoXM+7Wt1f8ij8kUX/io7uWtf+HD1DAvfkQO4n0iiS483\n"
    "t1g7EI1OzBVrXBhkG++6iA8neKpQX0VSoEELASsGX8nAh6n5G3Gkr5X6j1iXzawx\n"
    "toZzjC5tAgMBAAECggEAFAq3O+OWE8WlN4iP6auM5+bzQggzkoCsqj+tdtokmKGY\n"
    "yQAkt5qiXJEXfdjpHu5uIaRVKrXqM3t4iYb/Tc8amae4vpDv9y2Q57UcajB8eNel\n"
    "enGAvGuH8ATKoh328wBlcdxumZaaspr+0TiSIpmyx5cdDKKC2auLSc+3t2cz2DKM\n"
    "j2NjNfCBtEYVr0oXx8Nhrd/jGIRWzMFjpJMsLPA2jqWUh9NAcZnsgugmyReFDj+e\n"
    "1LtMxdysCkk56Tn8Jya0lJFCeggBV/V3cx4AMQEpHA0NilzLAAgqsyv3plHOGcii\n"
    "Tb9zrN4Qusefl0kG5Kh8zuaWKP2ecdkiQRkacwBB5QKBgQDAwJH7fq4nQgOgcqJt\n"
    "jC91FBTNmjwMR4vc+Yh79KNCA2i8wU6Hc8m+2fhf8fiu8NL9/KFn0jmKRP6F2k6H\n"
    "kKRVgguqAvhaGRL4EJoJj2qqK0Okx29BiMOTFsH1y6mo345avxk/NnIbD4tCynCw\n"
    "JrVP70SAdqthkZ/796sNDkix3wKBgQC+FBO6SZv6/B6kjjcWaJcpUoNzXzw3LsEJ\n"
    "9JRNAYrr6gavipW8F+zbC0KTAp6rrUdeFyNyzoJ5CNXDGQxUOyBSLoiafU1twFgx\n"
    "KCJNDXFxmIicBa8B2JacFrSfuW93iTGANOGYK0KPl4j9X34TX0CEkBEY0YZsxPl6\n"
    "Rg6cZj0hMwKBgF2suMWKuURm9rBBReMLX/z8N2f8bvZgxv4rX0MujzEDyyEAqRN3\n"
    "GDLiZ6zpQbxzWXcKEb8NEd26zh9rCwMjLlpICzcinmPbD7bzCole462zvPoV2mH0\n"
    "/2c6hiTYR6nEi8BaYwCviyDPmxRoof9ZsIAafiYYhg2y4hdoM/7yVC3tAoGBAKXT\n"
    "cC6KP1lkkPsw0yBqmM3FHccOY8Mkt+aOiL7xxJfycGi+98jD+rBSj38fvvu5TVTp\n"
    "zNRBE5SyP4NYm+f0OUtZK3XUMTO5pXclM1+Thc/7qdqsHrT2ltaP/H6IUZWwjA30\n"
    "lIej3grVwf6CS8RsyiWcZj4HtUW5RokFC4QosdX/AoGAOnnOaZZ0pjzRS9VALML4\n"
    "gjOTrjdCMh1XMLgJ6U3IUx6u0YubVSnsZfkKDpv0UPbFo5nFoPVwBzTLYTtBEkuf\n"
    "eTVljSiy+Oc8jTgdBr8iwejJ9wtHE8wOmnTtHjhXmNpKyDCoPSJoeNHUfioWVmEj\n"
    "qoipbnkwR44Bi75+HXJUPXg=\n"
    "-----END PRIVATE KEY-----\n";

static const char fuzz_stranger[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIDXzCCAkegAwIBAgIBAzANBgkqhkiG9w0BAQsFADAUMRIwEAYDVQQDDAlsb2Nh\n"
    "bGhvc3QwIBcNMDAwMTAxMDAwMDAwWhgPOTk5OTEyMzEyMzU5NTlaMBQxEjAQBgNV\n"
    "BAMMCWxvY2FsaG9zdDCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBAK21\n"
    "RW1W//WqCCsIx2Wv7c+LrHwZ1Er/08s/YYDvYsC34LHct2Rg3Oxc4qNuzru/eE7W\n"
    "kscSsYninHIGzqp6CQpokXMzEJxpQ0Poc/jAXU2zIVY7s+LpaucMM9x9JIsChvaJ\n"
    "sd5zRw89aXXKLEIVzNiW8XdFQKSh13j4wl146CwFWfD/6jFbzURQE4XAJKYn+3AR\n"
    "kMdyn+grhYuE3PUc5ypAKWihJaJgG9VH4RL7V67gNBOT0fPRQ9XAwxPmiNoyE6a2\n"
    "XYH6pVM9xB83x0wnJOddBqaLFh0HF3LB/KUACfyGjwIdtFOY9n6YYDKAznV0EwTR\n"
    "ZE6thaYYCX1qQXS2ouUCAwEAAaOBuTCBtjB2BgNVHREEbzBtgglsb2NhbGhvc3SH\n"
    "BH8AAAGHEAAAAAAAAAAAAAAAAAAAAAGGEXVybjpkZWd1OmRldmljZTo3gQ1hQGV4\n"
    "YW1wbGUuY29tpBYwFDESMBAGA1UEAwwJZGlyZWN0b3J5oA4GAyoDBKAHDAVvdGhl\n"
    "cjAdBgNVHSUEFjAUBggrBgEFBQcDAQYIKwYBBQUHAwIwHQYDVR0OBBYEFGG+SioL\n"
    "OdotI/joru9mnNQnpmn4MA0GCSqGSIb3DQEBCwUAA4IBAQBoL5zWjHgp0wt/oNYg\n"
    "BDWja+LDx0oxiYqUMauYUF7kOqr0Lrt8dxaYFbelKkLCHR6U9Gbl32q9BcyrpZGO\n"
    "X2YLHt2+L0/MX+Jb6445ABojPq5LoCAWQD/VdE++CKA93RZbjA9ivrFIaedGBMRj\n"
    "weAtJUsoIaQOWji8F6ES7L9oXpfzvTrXxjy+mY8CCt7W/CnwbLsmVR9XdylIoGBh\n"
    "zXccZB+27dGCw3kXakAmoaws2r3U2DelAoldmQ4O6efLgM102BqNZXw9ZVXLa6bb\n"
    "1EeFGY6ntHQmyGzPsoTbiZmXYK/mK/hZ98NMlH0DPzuBOh/TFHwWtHuED+H2SCEk\n"
    "8lhF\n"
    "-----END CERTIFICATE-----\n";

static const char fuzz_stranger_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCttUVtVv/1qggr\n"
    "CMdlr+3Pi6x8GdRK/9PLP2GA72LAt+Cx3LdkYNzsXOKjbs67v3hO1pLHErGJ4pxy\n"
    "Bs6qegkKaJFzMxCcaUND6HP4wF1NsyFWO7Pi6WrnDDPcfSSLAob2ibHec0cPPWl1\n"
    "yixCFczYlvF3RUCkodd4+MJdeOgsBVnw/+oxW81EUBOFwCSmJ/twEZDHcp/oK4WL\n"
    "hNz1HOcqQClooSWiYBvVR+ES+1eu4DQTk9Hz0UPVwMMT5ojaMhOmtl2B+qVTPcQf\n"
    "N8dMJyTnXQamixYdBxdywfylAAn8ho8CHbRTmPZ+mGAygM51dBME0WROrYWmGAl9\n"
    "akF0tqLlAgMBAAECggEAHe8OYzyqSA3AcZYGMm5CN1E07H/Q9wml2DD4Xu0hod8t\n"
    "78h+q+QLPgn1nj9CjdT9aOyOB5MfmAi+d+HXbEYyV6JUajsjAikbh9C/Z17S1Uho\n"
    "lsEcCx65Js6SA01nZjMNyd9JkPFhje1BxqQLw2mZTruYKbr73ELtbDHF4LCspaUP\n"
    "X+8TvlAe7qFqanTQ1SA2XAZEYC0rVIp8Ao4yJPWfpQ6WiEfwfjQbALK44Fq4iWg9\n"
    "IWd0H06UM36YeD6ni8KD4E71yGBSRXJxr0D5un3POPsdNI3/rzHOb6pOqxXVrLyS\n"
    "zWaPW6S3Mt4UhVmDtEyRickaySZpQp9jFhd5KBp4AQKBgQDpeWbjpNcD6BzfgoQq\n"
    "/vBKOhvd4+oHf9wdPG01JZcB5mQl5ZrfIyXD25Lyf2cAOFrd96XAgyEtZ7SxnYyD\n"
    "ecalzvmmm4HlM8CRJzIlLvrZaeS7vnfo0MVfUoZeuoVLpewi9oo8uvtYOajnHTC9\n"
    "eZ76CKuxEvnXvTZ7J+pvh0m+5QKBgQC+d7NrGErGGgNfcn6UC65BzdIORpdf6g3c\n"
    "r2GJejqc80rbldQDsQEgC/u7w78eU1tPKHxu7ZVcqirC6Ql/fZeD23Vak94Smv2B\n"
    "/vo4agzlHYJOvrOMBc4ZP0hKv/RUCRiUU6EM/ABf4qQdteQzK9Bug6ccDh+jJESE\n"
    "8y/uxUcUAQKBgQCGhOxDPTaliZcZMJn2K+1G1zQ3JJoyt/ia37YMaRwYfCY3r5ML\n"
    "/bREpL6F+eHevpmcSpO119fF0XrK23uaRQ+veRFebTrqVGcfOvYpdmgR3HFtutBb\n"
    "0+3kfiftbIpgi7kCbAo584Hd01r9zlPG18xBQ72oyMYrB1ncm6L3n3teAQKBgBTP\n"
    "DxMMPF8YSHYNFDcob4lQ6zoUDEW2VH1fy9AxQmYTToJfBCLDG9RceswwvpiZksg7\n"
    "LB0SZ9cP4EwbGaaMGhmVyGR08zYlKL0jFkNDktUVPD9OJl+N4s5vU36XKiJkPAM4\n"
    "f8fjYEcZg8SbMqtEhikMyR0PjfVM6Q99Yic79mABAoGACTaNUT7boER2ERRwfKQB\n"
    "qX/yhy4tbD5lf6d0q8gEXlzP/g9B+0+lEcziV9wWXZFaTwPooglp2lwM8bP9ny/r\n"
    "HBXB5XNCRTpLsDOMSOia87cIP26DQ60uVmVkzviZEsSFHidHHDmht7c2wwxJPxqF\n"
    "mfO/1r0pLrP7Aq3bNemtiyU=\n"
    "-----END PRIVATE KEY-----\n";

/* SHA-256 of its public key, by openssl pkey -outform der. */
static const unsigned char fuzz_good_pin[32] = {
    0x57, 0xce, 0x1f, 0x1d, 0x32, 0x76, 0x33, 0xad, 0x86, 0xa0, 0xd0,
    0x71, 0x3a, 0xe3, 0xf3, 0x9e, 0x8d, 0x61, 0xdf, 0x8d, 0x41, 0xa5,
    0xc6, 0x89, 0xe3, 0x0d, 0xaa, 0xdf, 0x0f, 0x3d, 0x9d, 0x92};

/* SHA-256 of its public key, by openssl pkey -outform der. */
static const unsigned char fuzz_stranger_pin[32] = {
    0x72, 0xd1, 0x81, 0x7e, 0xb2, 0xb3, 0x27, 0x8c, 0x44, 0xb0, 0x05,
    0xf1, 0xc4, 0xaa, 0x2b, 0xcb, 0x87, 0xb2, 0xf6, 0xb0, 0x45, 0xff,
    0xee, 0x9c, 0x9a, 0x75, 0x67, 0xfc, 0x7a, 0x80, 0x2e, 0x2b};

#endif
