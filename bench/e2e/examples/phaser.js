// Around the Phaser example of client/js: a game of the scene Match, and one each for
// before and after it.
import * as Phaser from "phaser";
import { Client } from "homing-client";
import { Match } from "./example.js";

window.heard = [];
window.happened = [];
window.places = {};
window.gone = false; // the match's scene is: it must not be told anything more
window.late = [];

class Game extends Match {
  happened(e) { (window.gone ? window.late : window.happened).push(e); }
  place(key, value) { window.places[key] = value; }
}

class Menu extends Phaser.Scene {
  create() { window.at = "menu"; }
}

class Over extends Phaser.Scene {
  create({ reason }) { window.at = `over: ${reason}`; }
}

window.play = (url, seat) => {
  const client = window.client = new Client({ url, token: async () => (await fetch("/token")).text() });
  client.on("notify", (n) => { window.heard.push(n.data); });
  const game = window.game = new Phaser.Game({ type: Phaser.CANVAS, width: 320, height: 240, parent: "root", audio: { noAudio: true }, banner: false });
  game.events.once(Phaser.Core.Events.READY, () => {
    game.scene.add("menu", Menu);
    game.scene.add("over", Over);
    game.scene.add("match", Game);
    game.scene.start("match", { client, ...seat });
    window.at = "match";
  });
};
window.toMenu = () => {
  window.gone = true;
  window.game.scene.getScene("match").scene.start("menu");
};
