using System;
using System.Collections.Generic;
using System.Net.Security;
using System.Threading;
using System.Threading.Tasks;

namespace Homing
{
    /// <summary>A whole message: Text, or Bytes of a binary one; the other is null.</summary>
    public struct Received
    {
        public readonly string Text;
        public readonly byte[] Bytes;

        public Received(string text) { Text = text; Bytes = null; }
        public Received(byte[] bytes) { Text = null; Bytes = bytes; }

        internal int Weight { get { return Text != null ? Text.Length : Bytes.Length; } }
    }

    /// <summary>What a Connector is to connect to.</summary>
    public sealed class ConnectRequest
    {
        public Uri Url;
        /// <summary>homing.v1 and, with a token, bearer.TOKEN. It is a secret.</summary>
        public IList<string> Protocols;
        public IDictionary<string, string> Headers;
        public RemoteCertificateValidationCallback CertificateCheck;
        /// <summary>In bytes, of one message.</summary>
        public int MessageLimit;
        internal Clock Clock = Clock.System;
    }

    /// <summary>Makes connections. SocketConnector is the one that a client uses by itself.</summary>
    public abstract class Connector
    {
        /// <summary>
        /// Connects and shakes hands. It fails with EndedException where it knows more than that
        /// the network failed. When cancelled it leaves nothing open.
        /// </summary>
        public abstract Task<Connection> Connect(ConnectRequest request, CancellationToken cancel);
    }

    /// <summary>
    /// One WebSocket. One Receive and one Send may be under way at a time. After a failure of
    /// either it is of no more use but to Receive what has come already.
    /// </summary>
    public abstract class Connection
    {
        /// <summary>When a byte has come last, by the clock of the request; TimeSpan.Zero at first.</summary>
        public abstract TimeSpan HeardAt { get; }

        /// <summary>Whether pings of the server move HeardAt. Else the client asks by itself.</summary>
        public abstract bool SeesPings { get; }

        /// <summary>The next message. It fails with EndedException for a close frame or a wrong one.</summary>
        public abstract Task<Received> Receive();

        public abstract Task Send(Received message);

        /// <summary>Says good-bye; Receive goes on until the server does so, too.</summary>
        public abstract Task SayClose(int code);

        /// <summary>Ends it at once, and what is under way with it. It may be called again.</summary>
        public abstract void Abort();
    }
}
