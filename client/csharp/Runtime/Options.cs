using System;
using System.Collections.Generic;
using System.Net.Security;
using System.Threading;
using System.Threading.Tasks;

namespace Homing
{
    /// <summary>Where to connect and as whom. It is read when a client is made and at each attempt.</summary>
    public sealed class HomingOptions
    {
        /// <summary>The ws:// or wss:// address of the front, with its path.</summary>
        public string Url;

        /// <summary>
        /// Is asked for a fresh token at each attempt, by whoever polls; null, or an empty token:
        /// none is sent. The token never stands in an Ending.
        /// </summary>
        public Func<CancellationToken, Task<string>> Token;

        /// <summary>How many tokens in a row the server may refuse before the client gives up.</summary>
        public int TokenTries = 5;

        /// <summary>
        /// Where a server may send the client: "game.example.com" for any port, or
        /// "game.example.com:8443". Empty: to any host. It is always by Url's scheme and path,
        /// and for one attempt: one that fails is followed by Url.
        /// </summary>
        public readonly List<string> Hosts = new List<string>();

        /// <summary>Sent with the handshake, Origin for example.</summary>
        public readonly Dictionary<string, string> Headers = new Dictionary<string, string>();

        /// <summary>Judges the server's certificate; null: as the system does.</summary>
        public RemoteCertificateValidationCallback CertificateCheck;

        /// <summary>Makes the connections.</summary>
        public Connector Connector = new SocketConnector();

        /// <summary>Where the client's place is kept over runs of the game; null: in memory only.</summary>
        public IStore Store;

        /// <summary>For the token and the connection, and then again until hello.</summary>
        public TimeSpan HandshakeTimeout = TimeSpan.FromSeconds(10);

        /// <summary>Of one message.</summary>
        public TimeSpan WriteTimeout = TimeSpan.FromSeconds(5);

        /// <summary>
        /// How long no byte may come from the server before it counts as gone. Zero: 15 s more than
        /// its ping interval. Negative: for ever.
        /// </summary>
        public TimeSpan Silence = TimeSpan.Zero;

        /// <summary>
        /// How long Stop goes on to acknowledge what was dealt with and to say good-bye. Not above
        /// zero: not at all.
        /// </summary>
        public TimeSpan CloseTimeout = TimeSpan.FromSeconds(1);

        /// <summary>The longest that a server may have the client wait.</summary>
        public TimeSpan LongestWait = TimeSpan.FromMinutes(2);

        /// <summary>How long a request waits for its answer on a connection that lives.</summary>
        public TimeSpan RequestTimeout = TimeSpan.FromSeconds(10);

        /// <summary>How long Publish tries, over connections.</summary>
        public TimeSpan PublishTimeout = TimeSpan.FromMinutes(1);

        /// <summary>How many Publish may wait at the same time, and requests of all kinds.</summary>
        public int PendingLimit = 256;

        /// <summary>In bytes, of one message.</summary>
        public int MessageLimit = 1 << 20;

        /// <summary>
        /// How much is read ahead of a handler that is slower than the server. Beyond it the
        /// server's outbox fills, and then it closes with 4008.
        /// </summary>
        public int QueueMessages = 256, QueueBytes = 1 << 20;

        internal Clock Clock = Clock.System; // tests have others
    }
}
