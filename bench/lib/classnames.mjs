/**
 * Class names for benches: n distinct ones of one to four tokens, 2.17 on average as ImageNet's have, few of them beginning
 * alike. Every word here is one token of CLIP's vocabulary.
 */
const KINDS = words(`
  red old tall wild small great white desert golden common spotted northern giant striped wooden plastic metal toy paper winter
  african alpine american ancient arctic asian australian autumn baby bald black blue bronze brown ceramic chinese city classic
  clay coastal copper cotton crested crystal curly dark dwarf eastern electric english european fairy farm flat flying folding
  forest french frozen garden german granite gray green grizzly hairy hanging heavy hollow horned house hunting ice indian indoor
  inland irish iron island italian ivory japanese jungle king kitchen lake leather lesser long marble marsh mexican military
  miniature modern moon mud nordic ocean office outdoor painted pale pacific persian pink pocket polar pond prairie purple queen
  racing rain river rock roman rough round royal russian rusty salt sand scottish sea shaggy sharp siberian silk silver slender
  smooth snow soft solar southern spanish square steam steel stone straw street summer sweet swiss tabby tailed tropical turkish
  velvet victorian vintage walking water western wet wide wire woolly yellow young`)
const THINGS = words(`
  fox oak cat owl car cup lamp lizard piano spider chair bottle beetle wolf boat bridge tower guitar mushroom pepper hammer kettle
  ladder mirror needle pigeon rabbit saddle teapot turtle violin camera carpet dragonfly elephant flute goose hamster jacket kayak
  lemon orange quilt radio snail tractor apple apron anchor acorn ambulance ant arrow axe backpack badger bagel balloon banana
  banjo barn barrel basket bat bear beaver bed bee bell bench bicycle bison boot bowl bracelet bread broom brush bucket buffalo
  bull burger bus butterfly button cabbage cabin cactus cake calculator camel candle canoe cannon carrot castle cauliflower cello
  chain cheetah cherry chess chicken church clarinet clock cloud clover coat cobra coconut coffee coin collar compass cookie coral
  corn couch cow coyote crab cradle crane crocodile cricket crown cucumber cushion daisy deer desk dessert diamond dice dog dolphin
  donkey door doughnut dove dress drill drum duck eagle eel egg emu envelope falcon fan feather fence fern ferry fig finch fish
  flag flamingo flower fly fork fountain frog garlic gate giraffe glacier glass globe glove goat gong gorilla grape grasshopper
  hare harp hat hawk hedgehog helicopter helmet hen heron hippo hornet horse hut jaguar jar jeep jelly jellyfish keyboard kite kiwi
  koala lantern laptop leaf leopard lettuce lighthouse lily lion llama lobster locomotive lynx magnet magpie mango maple mask melon
  microphone microscope monkey moose mop mosque moth motorcycle mountain mouse mug newt notebook octopus olive onion ostrich otter
  oven ox oyster paddle palace palm panda panther parachute parrot peach pear pelican pen pencil penguin pig pillow pine pineapple
  pizza plane plate plum pony poppy potato printer pumpkin puppet purse python quail raccoon raft raven ray refrigerator rhino ring
  robin robot rocket rooster rose rug ruler sandal saxophone scarf scissors scorpion screwdriver seal shark sheep shell ship shirt
  shoe shovel shrimp skirt skunk sloth slug snake sock sofa spoon squirrel stork stove strawberry submarine suitcase sunflower swan
  sword table tank teddy telephone telescope tent tiger toad toaster tomato toad train tray tree trombone trout truck trumpet tulip
  turkey typewriter umbrella vase vulture wagon wallet wasp watch whale wheat whistle windmill woodpecker worm yacht yak zebra`)
/** Words of a name, name after name. */
const LENGTHS = [2, 1, 2, 3, 2, 2, 1, 4, 2, 1, 3, 3]
/** What a name of several words may begin with. */
const FIRST = [...KINDS, ...THINGS]

/** `n` names, at most 1000; fewer are the first of them. */
export function classnames(n) {
  let [alone, first, second] = [0, 0, 0]
  const name = (_, i) => {
    const length = LENGTHS[i % LENGTHS.length]
    if (length === 1) return THINGS[alone++ % THINGS.length]
    const inner = Array.from({ length: length - 2 }, (_, j) => KINDS[(7 * first + 31 * j + 3) % KINDS.length])
    second += 11
    return [FIRST[first++ % FIRST.length], ...inner, THINGS[second % THINGS.length]].join(' ')
  }
  const names = Array.from({ length: n }, name)
  if (new Set(names).size !== n) throw new Error(`${n} class names are not distinct`)
  return names
}

function words(text) {
  return [...new Set(text.trim().split(/\s+/))]
}
